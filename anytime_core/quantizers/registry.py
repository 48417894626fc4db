"""The registry of quantizers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anytime_core.quantizers.config import QuantizerSection
from anytime_core.registry import Kind, Registry

if TYPE_CHECKING:
    from anytime_core.quantizers.base import Quantizer

_CONFIG = "anytime_core.quantizers.config"

QUANTIZERS: Registry[Quantizer] = Registry(
    "quantizer",
    QuantizerSection,
    "vq",
    [
        Kind(
            "vq", "anytime_core.quantizers.vq:VectorQuantizer", f"{_CONFIG}:VQConfig", "vectors of a learned codebook"
        ),
        Kind(
            "fsq",
            "anytime_core.quantizers.fsq:FiniteScalarQuantizer",
            f"{_CONFIG}:FSQConfig",
            "scalars rounded to levels",
        ),
        Kind(
            "levels",
            "anytime_core.quantizers.levels:LevelQuantizer",
            f"{_CONFIG}:LevelsConfig",
            "values of samples, rounded to levels",
        ),
        Kind(
            "none",
            "anytime_core.quantizers.continuous:ContinuousCodes",
            f"{_CONFIG}:ContinuousConfig",
            "continuous codes, for analysis",
        ),
    ],
)
