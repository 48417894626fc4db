"""The registry of priors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anytime_core.entry_points import Group
from anytime_core.priors.section import PriorSection
from anytime_core.registry import Kind, Registry

if TYPE_CHECKING:
    from anytime_core.priors.base import Prior

API_VERSION = 1
"""Version of the interface in `anytime_core.priors.base`; a plugin declares the version that it was written for."""

_KINDS = [
    Kind(
        "transformer",
        "anytime_core.priors.transformer.model:TransformerPrior",
        "anytime_core.priors.transformer.config:TransformerConfig",
        "codes from first to last, one per network call",
    ),
    Kind(
        "made",
        "anytime_core.priors.made.model:MADEPrior",
        "anytime_core.priors.made.config:MADEConfig",
        "masked layers, whose steps together cost one pass",
    ),
    Kind(
        "nade",
        "anytime_core.priors.nade.model:NADEPrior",
        "anytime_core.priors.nade.config:NADEConfig",
        "one hidden layer that sums up the codes so far",
    ),
    Kind(
        "wavenet",
        "anytime_core.priors.wavenet.model:WaveNetPrior",
        "anytime_core.priors.wavenet.config:WaveNetConfig",
        "gated dilated convolutions",
    ),
    Kind(
        "bytenet",
        "anytime_core.priors.bytenet.model:ByteNetPrior",
        "anytime_core.priors.bytenet.config:ByteNetConfig",
        "residual dilated convolutions",
    ),
    Kind(
        "gru",
        "anytime_core.priors.gru.model:GRUPrior",
        "anytime_core.priors.gru.config:GRUConfig",
        "gated recurrent units, codes from first to last",
    ),
    Kind(
        "raster",
        "anytime_core.priors.raster.model:RasterPrior",
        "anytime_core.priors.raster.config:RasterConfig",
        "values on a grid in raster order, by a network",
    ),
    Kind(
        "subscale",
        "anytime_core.priors.subscale.model:SubscalePrior",
        "anytime_core.priors.subscale.config:SubscaleConfig",
        "values on a grid, slice after slice, by a network",
    ),
    Kind(
        "multiscale",
        "anytime_core.priors.multiscale.model:MultiscalePrior",
        "anytime_core.priors.multiscale.config:MultiscaleConfig",
        "values on a grid, scale after scale, many per call",
    ),
    Kind(
        "ardm",
        "anytime_core.priors.ardm.model:ARDMPrior",
        "anytime_core.priors.ardm.config:ARDMConfig",
        "codes in any order, any number of them per network call",
    ),
]

PRIOR_GROUP = Group(
    "anytime.priors",
    "prior",
    API_VERSION,
    own=tuple(kind.name for kind in _KINDS),
    base="anytime_core.priors.base:Prior",
)

PRIORS: Registry[Prior] = Registry("prior", PriorSection, "transformer", _KINDS, PRIOR_GROUP)
