"""The data that a run is evaluated on, and how it differs from what the run was trained on."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from anytime_core.display import shown
from anytime_core.errors import DataError
from anytime_core.found import class_difference
from anytime_core.modality import Datasets
from anytime_core.relocation import location_keys
from anytime_core.run import Run

logger = logging.getLogger(__name__)


def data_of(run: Run) -> tuple[Datasets, tuple[str, ...]]:
    """The data of a run, with the run's own numbers of classes as labels, and how they have changed since.

    Other samples of the same classes are accepted: they may be intended.

    Raises:
        DataError: the data is gone, or has other classes, by which samples of the run cannot be judged.
    """
    has_root = "data.root" in location_keys(run.modality.Config)
    try:
        datasets, classes = run.modality.datasets(), run.record.classes
    except DataError as error:
        way_out = "; if it has moved, say where it lies now with --set data.root=DIR" if has_root else ""
        raise DataError(f"the data of run {shown(run.folder)} cannot be opened: {error}{way_out}") from error
    found = datasets.counted()
    place = f" in {shown(found.root)}" if found.root is not None else ""
    difference = class_difference(classes, datasets.classes)
    if set(datasets.classes) != set(classes):
        way_out = "say where its data lies with --set data.root=DIR" if has_root else "evaluate it where its data is"
        raise DataError(f"these are not the data of run {shown(run.folder)}: {difference}{place}; {way_out}")
    listing = run.record.found.listing_difference(found) if run.record.found is not None else ""
    changes = tuple(f"there are {change}{place}" for change in (difference, listing) if change)
    return _renumbered(datasets, classes) if difference else datasets, changes


def warn_of_changes(run: Run, changes: Sequence[str]) -> None:
    """Log how the data of a run has changed since it was trained, if it has."""
    if changes:
        logger.warning(
            "the data of run %s has changed since it was trained, and is what it is judged by now: %s",
            shown(run.folder),
            "; ".join(changes),
        )


def _renumbered(datasets: Datasets, classes: Sequence[str]) -> Datasets:
    """The same samples, each class with the number that its name has in `classes`."""
    numbers = [classes.index(name) for name in datasets.classes]
    train, validation = (
        (_RenumberedBatches if hasattr(part, "batch") else _Renumbered)(part, numbers)
        for part in (datasets.train, datasets.validation)
    )
    return dataclasses.replace(datasets, train=train, validation=validation, classes=tuple(classes))


class _Renumbered:
    """A data set that gives label i as `numbers[i]`."""

    def __init__(self, dataset: Any, numbers: Sequence[int]) -> None:
        self.dataset, self.numbers = dataset, list(numbers)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int, /) -> Mapping[str, Any]:
        item = self.dataset[index]
        return {**item, "label": self.numbers[int(item["label"])]} if "label" in item else item


class _RenumberedBatches(_Renumbered):
    """The same for a data set that hands out whole batches."""

    def batch(self, indices: Sequence[int]) -> Mapping[str, Tensor]:
        """Items `indices` as one batch."""
        batch = self.dataset.batch(indices)
        return {**batch, "label": torch.tensor(self.numbers)[batch["label"]]} if "label" in batch else batch
