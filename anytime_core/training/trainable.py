"""Models that are made to be trained, within the memory of this machine."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from anytime_core.autoencoder import OrderedAutoencoder, build_autoencoder
from anytime_core.config import AutoencoderConfig
from anytime_core.data.allocation import LimitedElements, TooLargeError, trainable_weights
from anytime_core.display import listed
from anytime_core.errors import ConfigError
from anytime_core.modality import Modality
from anytime_core.priors.base import Prior
from anytime_core.priors.registry import PRIORS
from anytime_core.priors.section import PriorSection
from anytime_core.quantizers.base import CodeSpec
from anytime_core.section import Section


def make_autoencoder(modality: Modality, config: AutoencoderConfig) -> OrderedAutoencoder:
    """An untrained autoencoder. Raises ConfigError if this machine cannot hold its training."""
    most = trainable_weights()
    try:
        with LimitedElements(most):
            return build_autoencoder(modality, config)
    except TooLargeError as error:
        raise ConfigError(
            f"the autoencoder of this config has more than the {most:,} weights that this machine can train: "
            "lower autoencoder.quantizer.size, or the widths in network"
        ) from error


def make_prior(config: PriorSection, spec: CodeSpec, code_vectors: Tensor | None) -> Prior:
    """An untrained prior for the codes `spec`. Raises ConfigError if this machine cannot hold its training."""
    most = trainable_weights()
    try:
        with LimitedElements(most):
            return PRIORS[config.kind](config, spec, code_vectors)
    except TooLargeError as error:
        sizes = [f"prior.{name}={value}" for name, value in _sizes(config).items()]
        raise ConfigError(
            f"prior.kind={config.kind} has more than the {most:,} weights that this machine can train with "
            f"{listed(sizes)}: lower {'one of these' if len(sizes) > 1 else 'it'}"
        ) from error


def _sizes(config: Section) -> dict[str, int]:
    """The whole numbers of a section, and of sections in it, that are larger than by default; all if none is."""
    numbers, raised = {}, {}
    for name, value, default in _numbers(config):
        numbers[name] = value
        if not isinstance(default, int) or value > default:
            raised[name] = value
    return raised or numbers


def _numbers(section: Section, prefix: str = "") -> Iterator[tuple[str, int, object]]:
    """Name, value and default of each whole number of a section, and of sections in it."""
    for name, value in section:
        if isinstance(value, Section):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, int) and not isinstance(value, bool):
            yield prefix + name, value, type(section).model_fields[name].default
