"""Priors by their `kind` in the config: `transformer`, `ardm`."""

from __future__ import annotations

from torch import Tensor

from anytime_core.config import ARDMConfig, FSQConfig, PriorConfig, QuantizerConfig
from anytime_core.errors import ConfigError
from anytime_core.priors.ardm import ARDMPrior
from anytime_core.priors.base import Prior
from anytime_core.priors.digits import Digits, in_base, of_levels
from anytime_core.priors.transformer import TransformerPrior

__all__ = [
    "ARDMPrior",
    "Digits",
    "Prior",
    "TransformerPrior",
    "build_prior",
    "code_digits",
]


def build_prior(
    config: PriorConfig,
    *,
    code_length: int,
    codebook_size: int,
    classes: int,
    code_vectors: Tensor | None,
    digits: Digits | None = None,
) -> Prior:
    """The prior that `config` describes, freshly initialised.

    Args:
        config: which kind, and its sizes.
        code_length, codebook_size, classes, code_vectors: see `TransformerPrior`.
        digits: of the codes, for a prior that draws them digit by digit; None: each code at once.
    """
    if isinstance(config, ARDMConfig):
        digits = digits or Digits(codebook_size, (codebook_size,))
        return ARDMPrior(config, code_length=code_length, digits=digits, classes=classes, code_vectors=code_vectors)
    return TransformerPrior(
        config, code_length=code_length, codebook_size=codebook_size, classes=classes, code_vectors=code_vectors
    )


def code_digits(config: PriorConfig, quantizer: QuantizerConfig, codebook_size: int) -> Digits | None:
    """The digits that the prior of `config` draws codes by; None where it draws each code at once.

    Raises:
        ConfigError: digits that these codes do not have.
    """
    if not isinstance(config, ARDMConfig) or config.base is None:
        return None
    if config.base == "levels":
        if not isinstance(quantizer, FSQConfig):
            raise ConfigError(
                f"prior.base=levels draws the levels of fsq codes, and autoencoder.quantizer.kind is {quantizer.kind}: "
                "use a number, or null"
            )
        return of_levels(quantizer.levels)
    return in_base(codebook_size, config.base)
