"""Items of data that cannot be read. They are left out, counted once each, and reported in one line."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch.distributed as dist

from anytime_core.display import counted, shown
from anytime_core.distributed import rank, world_size
from anytime_core.found import Found, PassedOver
from anytime_core.modality import Datasets, SampleDataset

_EXAMPLES = 5

logger = logging.getLogger(__name__)


class Damaged:
    """The items of one data set that cannot be read.

    Args:
        noun: the word for the items, such as `training samples`.
    """

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self._reasons: dict[int, str] = {}
        self._said = 0

    def add(self, item: int, reason: str) -> None:
        """Add the number of an item that cannot be read; `reason` names the item and says why."""
        self._reasons.setdefault(item, reason)

    @property
    def count(self) -> int:
        """How many items cannot be read."""
        return len(self._reasons)

    @property
    def reasons(self) -> Mapping[int, str]:
        """The number of each item -> why it cannot be read."""
        return self._reasons

    @property
    def examples(self) -> tuple[str, ...]:
        """Why the first few items, by number, cannot be read."""
        return tuple(shown(reason) for _, reason in sorted(self._reasons.items())[:_EXAMPLES])

    def say(self, total: int) -> None:
        """Log one line on the items of `total` that cannot be read, if there are more than the last time."""
        if self.count > self._said:
            logger.warning("%s", left_out_sentence(self.noun, self.count, total, self.examples))
        self._said = self.count

    def passed_over(self) -> tuple[PassedOver, ...]:
        """The same for the record of what was found; empty if all items can be read."""
        if not self.count:
            return ()
        return (PassedOver(reason=f"{self.noun} that cannot be read", count=self.count, examples=self.examples),)


def left_out_sentence(noun: str, count: int, total: int, examples: Sequence[str]) -> str:
    """One line on `count` of `total` items that cannot be read, with the first few reasons."""
    named = "; ".join((*examples, *([f"and {count - len(examples):,} more"] if count > len(examples) else [])))
    return f"{count:,} of {counted(total, noun)} cannot be read and {'is' if count == 1 else 'are'} left out: {named}"


class RemembersDamaged:
    """A data set that remembers which of its items raised DataError when `training.batches` asked for them."""

    def __init__(self, dataset: SampleDataset, noun: str) -> None:
        self.dataset, self.damaged = dataset, Damaged(noun)

    def __getattr__(self, name: str) -> Any:
        """Every other attribute of the data set, such as `batch`."""
        if name == "dataset":  # not there while it is unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Mapping[str, Any]:
        return self.dataset[index]


def remembering_damaged(datasets: Datasets) -> Datasets:
    """The same data, which remember what could not be read: `damaged` tells it."""
    return dataclasses.replace(
        datasets,
        train=RemembersDamaged(datasets.train, "training samples"),
        validation=RemembersDamaged(datasets.validation, "validation samples"),
    )


def damaged(dataset: SampleDataset) -> Damaged:
    """What could not be read of a data set so far; empty if the set does not remember it."""
    return dataset.damaged if isinstance(dataset, RemembersDamaged) else Damaged("samples")


def with_damaged(found: Found, datasets: Datasets) -> Found:
    """What was found, with what could not be read so far."""
    met = [one for part in (datasets.train, datasets.validation) for one in damaged(part).passed_over()]
    known = [one for one in found.passed_over if one.reason not in {one.reason for one in met}]
    return found.model_copy(update={"passed_over": (*known, *met)})


def say_damaged(datasets: Datasets) -> None:
    """Log what all processes together could not read, in one line for each part of the data."""
    for part in (datasets.train, datasets.validation):
        found = damaged(part)
        if world_size() > 1:
            everywhere: list[Mapping[int, str]] = [{}] * world_size()
            dist.all_gather_object(everywhere, found.reasons)
            for reasons in everywhere:
                for item, reason in reasons.items():
                    found.add(item, reason)
        if rank() == 0:
            found.say(len(part))
