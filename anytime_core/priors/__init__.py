"""Priors by their `kind` in the config: `transformer`."""

from __future__ import annotations

from torch import Tensor

from anytime_core.config import PriorConfig
from anytime_core.priors.base import AutoregressivePrior, Prior
from anytime_core.priors.transformer import TransformerPrior

__all__ = ["AutoregressivePrior", "Prior", "TransformerPrior", "build_prior"]


def build_prior(
    config: PriorConfig, *, code_length: int, codebook_size: int, classes: int, code_vectors: Tensor | None
) -> TransformerPrior:
    """The prior that `config` describes, freshly initialised; see `TransformerPrior` for the arguments."""
    return TransformerPrior(
        config,
        code_length=code_length,
        codebook_size=codebook_size,
        classes=classes,
        code_vectors=code_vectors,
    )
