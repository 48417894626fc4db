"""Models that are too large for the memory of this machine."""

from __future__ import annotations

import pytest
from small_priors import SMALL, eight_cells

from anytime_core.data.allocation import trainable_weights
from anytime_core.errors import ConfigError
from anytime_core.priors.registry import PRIORS
from anytime_core.quantizers.base import CodeSpec
from anytime_core.training.trainable import make_prior

LARGE = {
    "transformer": {"width": 2048},
    "ardm": {"layers": 5, "width": 1024},
    "made": {"hidden": 65536},
    "nade": {"hidden": 4096, "embedding": 128},
    "wavenet": {"layers": 12, "width": 1024},
    "bytenet": {"width": 1024},
    "gru": {"width": 2048},
    "raster": {"network": {**SMALL["network"], "width": 2048}},
    "subscale": {"blocks": 5, "width": 512, "network": SMALL["network"]},
    "multiscale": {"blocks": 5, "width": 512, "network": SMALL["network"]},
}


@pytest.mark.parametrize("kind", PRIORS.built_in)
def test_a_prior_that_is_too_large_is_refused_with_the_sizes_that_make_it_so(kind, monkeypatch):
    config = PRIORS.section_of(kind)(**LARGE[kind])
    spec = CodeSpec(length=8, size=16, dim=2, **eight_cells(kind))
    most = sum(weight.numel() for weight in make_prior(config, spec, None).parameters())
    monkeypatch.setattr("anytime_core.training.trainable.trainable_weights", lambda: most // 2)
    with pytest.raises(ConfigError) as error:
        make_prior(config, spec, None)
    large = LARGE[kind]
    if "width" in large.get("network", {}):
        sizes = f"prior.network.width={large['network']['width']}"
    else:
        sizes = ", ".join(f"prior.{name}={value}" for name, value in config if name in large and name != "network")
    lower = "one of these" if "," in sizes else "it"
    assert str(error.value) == (
        f"prior.kind={kind} has more than the {most // 2:,} weights that this machine can train with {sizes}: "
        f"lower {lower}"
    )


def test_this_machine_can_train_something():
    assert trainable_weights() > 10**6


def test_the_limit_of_a_container_counts_and_no_limit_does_not(tmp_path, monkeypatch):
    whole, limit = trainable_weights(), tmp_path / "memory.max"
    monkeypatch.setattr("anytime_core.data.allocation._LIMITS", (tmp_path / "missing", limit))
    for text, weights in (("1600\n", 100), ("max\n", whole), (f"{2**63 - 4096}\n", whole)):
        limit.write_text(text)
        assert trainable_weights() == weights
