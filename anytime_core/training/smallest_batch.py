"""Whether networks can learn from as few samples at a time as there are."""

from __future__ import annotations

import typing
from collections.abc import Iterator

import torch
from pydantic import BaseModel

from anytime_core.autoencoder import OrderedAutoencoder
from anytime_core.config import Config
from anytime_core.errors import ConfigError


def check_batch(autoencoder: OrderedAutoencoder, config: Config, samples: int, shape: tuple[int, ...]) -> None:
    """Raise ConfigError where a step sees one sample only and a normalisation finds nothing to average over.

    Args:
        autoencoder: untrained; running averages in it may change.
        config: of it.
        samples: that a step sees.
        shape: of one of them.
    """
    if samples > 1:
        return
    try:
        with torch.no_grad():
            autoencoder(torch.zeros(1, *shape), [torch.tensor([autoencoder.code_length])])
    except ValueError as error:
        if not str(error).startswith("Expected more than 1"):  # torch has no type of its own for this
            raise
        size = config.core.training.autoencoder.batch_size
        more = f"training.autoencoder.batch_size={size} to 2 or more" if size == 1 else "more than one training sample"
        changes = "".join(f", or set {change}" for change in _without_batches(config.modality))
        raise ConfigError(
            f"each step sees one sample, and normalisation on maps of one position needs two: "
            f"{'raise' if size == 1 else 'give'} {more}{changes}"
        ) from error


def _without_batches(config: BaseModel, prefix: str = "") -> Iterator[str]:
    """Settings of a modality that replace normalisation by batch, as `--set` has them."""
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        if isinstance(value, BaseModel):
            yield from _without_batches(value, f"{prefix}{name}.")
        elif value == "batch" and "group" in typing.get_args(field.annotation):
            yield f"{prefix}{name}=group"
