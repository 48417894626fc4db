"""Codes of training data that are made while the prior learns, each time of another view, and stand in no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from anytime_core.autoencoder import OrderedAutoencoder
from anytime_core.distributed import rank
from anytime_core.modality import Modality, NeedsViews, SampleDataset
from anytime_core.training.batches import ShuffledBatches, spread
from anytime_core.training.seeds import step_generator


@dataclass(frozen=True)
class OnlineCodes:
    """Makes codes of shuffled batches of samples: augments them, and encodes the views.

    The views of a step follow from the seed, the step and the process, so that a training that goes on sees the same.

    Attributes:
        autoencoder: makes the codes; it learns nothing.
        modality: makes the views.
        dataset: the training data.
        samples: how many of its items are used, evenly spread; None: all.
        seed: of the training.
        workers: the number of processes that load data that is not in memory.
    """

    autoencoder: OrderedAutoencoder
    modality: Modality
    dataset: SampleDataset
    samples: int | None
    seed: int
    workers: int

    def batches(self, batch_size: int, done: int) -> ShuffledBatches:
        """Batches of samples, of `batch_size` in all processes together, after the first `done` ones."""
        items = None if self.samples is None else spread(len(self.dataset), self.samples)
        return ShuffledBatches(self.dataset, batch_size, seed=self.seed, workers=self.workers, done=done, items=items)

    @torch.no_grad()
    def encoded(self, batch: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        """A batch of samples -> `"codes"` [B, N] of a view of each, and `"label"` [B] if known."""
        x = self.modality.augment(batch["x"], step_generator(self.seed, "online codes", step, rank()))
        labels = {"label": batch["label"]} if "label" in batch else {}
        return {"codes": self.autoencoder.encode(x), **labels}


def needed_views(modality: Modality) -> str:
    """The setting that makes training samples what `augment` draws of them; empty if they are good as they are."""
    return modality.needs_views() if isinstance(modality, NeedsViews) else ""


def as_trained_on(modality: Modality, x: Tensor, number: int) -> Tensor:
    """Training samples [B, *sample_shape] as they are; if they are of use only as views, one of each.

    Args:
        modality: makes the views.
        x: the samples.
        number: of the batch, from which the views follow.
    """
    return modality.augment(x, step_generator(0, "views", number)) if needed_views(modality) else x
