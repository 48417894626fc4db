"""Whether networks can learn from the few samples that a step sees."""

from __future__ import annotations

import itertools
import typing
from collections.abc import Iterator, Sequence

import torch
from pydantic import BaseModel

from anytime_core.autoencoder import OrderedAutoencoder, build_autoencoder
from anytime_core.config import Config
from anytime_core.config_parsing import apply_overrides, parse_config
from anytime_core.errors import ConfigError
from anytime_core.modality import Modality

_NOTHING_TO_AVERAGE = "Expected more than 1"
"""The start of torch's message if a normalisation finds a single value; torch has no error type for this."""


def check_batch(modality: Modality, autoencoder: OrderedAutoencoder, config: Config, samples: int) -> None:
    """Raise ConfigError if a step sees a single sample and a normalisation finds nothing to average over.

    Args:
        modality: the modality of the autoencoder.
        autoencoder: the untrained autoencoder; its running averages may change.
        config: the config of both.
        samples: the number of samples that a step sees.
    """
    if samples > 1 or _learns_from_one(modality, autoencoder):
        return
    size = config.core.training.autoencoder.batch_size
    more = (
        f"raise training.autoencoder.batch_size={size} to 2 or more"
        if size == 1
        else "give more than one training sample"
    )
    enough = next((changes for changes in _changes(config.modality) if _would_help(modality, config, changes)), ())
    changed = f", or set {' and '.join(enough)}" if enough else ""
    raise ConfigError(
        f"each step sees one sample, and normalisation on maps of one position needs two: {more}{changed}"
    )


def refuse_single_values(error: ValueError) -> None:
    """Raise ConfigError if `error` is from a normalisation that finds a single value for any number of samples."""
    if str(error).startswith(_NOTHING_TO_AVERAGE):
        raise ConfigError(
            "the networks of this config normalise single values, which makes them all zero: give their layers more "
            "channels, or halve the resolution less often"
        ) from error


def _learns_from_one(modality: Modality, autoencoder: OrderedAutoencoder) -> bool:
    x = torch.zeros(1, *modality.sample_shape())
    try:
        with torch.no_grad():
            autoencoder(x, [torch.tensor([autoencoder.code_length])])
    except ValueError as error:
        if str(error).startswith(_NOTHING_TO_AVERAGE):
            return False
        raise
    return True


def _would_help(modality: Modality, config: Config, changes: Sequence[str]) -> bool:
    """Whether one sample would be enough with these settings."""
    sections = type(config.modality)
    changed = parse_config(apply_overrides(config.to_dict(), changes, sections), sections)
    other = type(modality)(changed.modality)
    try:
        return _learns_from_one(other, build_autoencoder(other, config.core.autoencoder))
    except ValueError:
        return False


def _changes(config: BaseModel) -> Iterator[tuple[str, ...]]:
    """Settings by which a modality does not normalise over other samples, the fewest settings first."""
    keys = list(_normalising_by_batch(config))
    for number in range(1, len(keys) + 1):
        for chosen in itertools.combinations(keys, number):
            yield tuple(f"{key}=group" for key in chosen)


def _normalising_by_batch(config: BaseModel, prefix: str = "") -> Iterator[str]:
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield from _normalising_by_batch(value, f"{prefix}{name}.")
        elif value == "batch" and "group" in typing.get_args(field.annotation):
            yield f"{prefix}{name}"
