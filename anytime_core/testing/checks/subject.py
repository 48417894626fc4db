"""What is checked, and the list of checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anytime_core.autoencoder import OrderedAutoencoder, build_autoencoder
from anytime_core.config import AutoencoderConfig, CoreConfig
from anytime_core.modality import Datasets, Modality, SampleDataset

BATCH = 4
LOOKED_AT = 64
"""Items of a data set that are looked at."""
CLOSE = 1e-4


@dataclass
class Subject:
    """What is checked, and what its checks share, made when first asked for.

    Attributes:
        modality: the class that the entry point names.
        config: of its sections.
    """

    modality: Any
    config: dict[str, Any]

    def make(self) -> Modality:
        """A new object of the modality."""
        return self.modality(self.modality.Config.model_validate(self.config))

    @cached_property
    def made(self) -> Modality:
        """The modality, configured."""
        return self.make()

    @cached_property
    def datasets(self) -> Datasets:
        """Its data."""
        return self.made.datasets()

    @cached_property
    def x(self) -> Tensor:
        """Some training samples, [B, *sample_shape]."""
        return samples(self.datasets.train, BATCH)

    @cached_property
    def autoencoder_config(self) -> AutoencoderConfig:
        """Of the autoencoder that checks build around the modality's networks."""
        return CoreConfig().autoencoder

    def autoencoder(self) -> OrderedAutoencoder:
        """A freshly initialised one."""
        torch.manual_seed(0)
        return build_autoencoder(self.made, self.autoencoder_config)


Function = Callable[[Subject, Path], None]
DECLARED: dict[str, Function] = {}
"""What `check` decorates, by name."""


def check(function: Function) -> Function:
    """Declare a check, called as its function with hyphens."""
    DECLARED[function.__name__.replace("_", "-")] = function
    return function


def samples(dataset: SampleDataset, number: int) -> Tensor:
    """At most `number` samples [B, *sample_shape], spread over the set."""
    return torch.stack([dataset[index]["x"] for index in spread(len(dataset), number)])


def spread(size: int, number: int) -> list[int]:
    """At most `number` indices over the whole set, which may be sorted by class."""
    number = min(size, number)
    return [position * size // number for position in range(number)]


def content(x: Tensor) -> bytes:
    """To compare tensors bit by bit, NaN included."""
    return x.contiguous().numpy().tobytes()
