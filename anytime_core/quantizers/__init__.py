"""Quantizers by their `kind` in the config: `vq`, `fsq` and `none`."""

from __future__ import annotations

from anytime_core.config import ContinuousConfig, FSQConfig, QuantizerConfig
from anytime_core.quantizers.base import Quantized, Quantizer
from anytime_core.quantizers.continuous import ContinuousCodes
from anytime_core.quantizers.fsq import FiniteScalarQuantizer
from anytime_core.quantizers.vq import VectorQuantizer

__all__ = [
    "ContinuousCodes",
    "FiniteScalarQuantizer",
    "Quantized",
    "Quantizer",
    "VectorQuantizer",
    "build_quantizer",
]


def build_quantizer(
    config: QuantizerConfig, code_length: int, code_dim: int
) -> VectorQuantizer | FiniteScalarQuantizer | ContinuousCodes:
    """The quantizer that `config` describes, for codes [B, N, D] with N = `code_length` and D = `code_dim`."""
    if isinstance(config, FSQConfig):
        return FiniteScalarQuantizer(code_length, code_dim, **config.model_dump(exclude={"kind"}))
    if isinstance(config, ContinuousConfig):
        return ContinuousCodes(code_length, code_dim)
    return VectorQuantizer(code_length, code_dim, **config.model_dump(exclude={"kind"}))
