"""Sections of all kinds of priors, of sizes that make tests quick."""

from __future__ import annotations

from typing import Any

from shifted import Offering

from anytime_core.priors.grid.orders import subscale_order
from anytime_core.priors.registry import PRIORS
from anytime_core.value_networks import NETWORKS

NETWORKS.offer(Offering)

SMALL: dict[str, Any] = {
    "layers": 1,
    "width": 16,
    "heads": 2,
    "hidden": 17,
    "embedding": 8,
    "features": 8,
    "skip_channels": 12,
    "blocks": 1,
}
SMALL["network"] = {"kind": "shifted"}
"""Sizes for the kinds that have fields of these names."""
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "transformer": [
        {"label_dropout": 0.2, "code_vectors": False},
        {"attention": "local", "block": 2},
        {"attention": "strided", "positions": "grid", "layers": 2},
        {"attention": "fixed", "block": 3, "summary": 2, "layers": 2, "label_dropout": 0.2},
    ],
    "wavenet": [{"layers": 4, "kernel": 3, "dilation_cycle": 2, "label_dropout": 0.2}],
    "bytenet": [{"layers": 3, "block": "relu", "label_dropout": 0.2, "code_vectors": False}],
    "made": [
        {"masks": 3, "layers": 2, "label_dropout": 0.2},
        {"hidden": 3, "direct": True, "code_vectors": False},
    ],
    "nade": [{"activation": "sigmoid", "label_dropout": 0.2, "code_vectors": False}],
    "gru": [{"dual_softmax": True, "layers": 2, "label_dropout": 0.2}, {"dual_softmax": True, "code_vectors": False}],
    "raster": [{"label_dropout": 0.2}],
    "subscale": [{"label_dropout": 0.2, "slices_per_step": 2}],
    "multiscale": [{"label_dropout": 0.2}],
    "ardm": [{"base": 2, "label_dropout": 0.2, "time_input": True}, {"base": "levels"}],
}
"""Sections with options of a kind; tests look at these, too."""


def eight_cells(kind: str) -> dict[str, Any]:
    """Grid and order of up to eight codes that a kind can model, for their description."""
    if kind in ("subscale", "multiscale"):
        return {"grid": (4, 2), "order": subscale_order(1, (4, 2), 2)}
    return {"grid": (1, 8)}


def small(kind: str) -> dict[str, Any]:
    """The sizes that a kind has."""
    return {name: value for name, value in SMALL.items() if name in PRIORS.section_of(kind).model_fields}
