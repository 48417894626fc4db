"""The modality that is checked, and what only some modalities offer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from anytime_core.autoencoder import OrderedAutoencoder, build_autoencoder
from anytime_core.config import AutoencoderConfig, CoreConfig
from anytime_core.modality import (
    Datasets,
    HasExtractors,
    HasFeatureNetwork,
    Modality,
    NeedsViews,
    OpensFiles,
    RestoresFiles,
    SampleDataset,
    ShowsGrowth,
    WritesInMemory,
)
from anytime_core.testing.checks import Capability, Checks
from anytime_core.value_networks import HasValueNetworks

BATCH = 4
LOOKED_AT = 64
"""The number of items of a data set that are looked at."""
CLOSE = 1e-4


@dataclass
class Subject:
    """The modality that is checked, and what its checks share, made when first needed.

    Attributes:
        modality: the class that the entry point names.
        config: values of its sections.
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

    @property
    def parts(self) -> tuple[SampleDataset, SampleDataset]:
        """Training and validation data."""
        return self.datasets.train, self.datasets.validation

    @cached_property
    def x(self) -> Tensor:
        """Some training samples, [B, *sample_shape]."""
        return samples(self.datasets.train, BATCH)

    @cached_property
    def autoencoder_config(self) -> AutoencoderConfig:
        """The config of the autoencoder that checks build around the modality's networks."""
        return CoreConfig().autoencoder

    def autoencoder(self) -> OrderedAutoencoder:
        """A freshly initialised autoencoder."""
        torch.manual_seed(0)
        return build_autoencoder(self.made, self.autoencoder_config)


def _offers(protocol: type, method: str) -> Capability[Subject]:
    return Capability(lambda subject: isinstance(subject.made, protocol), f"it has no {method}()")


check: Checks[Subject] = Checks(
    {
        "batches": Capability(
            lambda subject: any(hasattr(part, "batch") for part in subject.parts),
            "its data sets have no batch(indices)",
        ),
        "opens-files": _offers(OpensFiles, "open_file"),
        "restores-files": _offers(RestoresFiles, "open_to_restore"),
        "writes-in-memory": _offers(WritesInMemory, "contents"),
        "shows-growth": _offers(ShowsGrowth, "write_growth"),
        "feature-network": _offers(HasFeatureNetwork, "feature_network"),
        "extractors": _offers(HasExtractors, "extractors"),
        "needs-views": _offers(NeedsViews, "needs_views"),
        "value-networks": _offers(HasValueNetworks, "value_networks"),
    }
)
"""Declares a check of modalities."""


def samples(dataset: SampleDataset, number: int) -> Tensor:
    """At most `number` samples [B, *sample_shape], evenly spread over the set."""
    return torch.stack([dataset[index]["x"] for index in spread(len(dataset), number)])


def spread(size: int, number: int) -> list[int]:
    """At most `number` indices, evenly spread over the set, which may be sorted by class."""
    number = min(size, number)
    return [position * size // number for position in range(number)]


def content(x: Tensor) -> bytes:
    """The bytes of a tensor, for comparison bit by bit, NaN included."""
    return x.contiguous().numpy().tobytes()
