"""Batches of a modality's data set: in order, or shuffled without end.

An item that cannot be read raises DataError. Ordered batches leave it out. Shuffled batches, whose size is constant,
replace it by another item of the set, drawn at random.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from anytime_core.damaged import damaged
from anytime_core.distributed import rank, world_size
from anytime_core.errors import DataError, UsageError
from anytime_core.modality import SampleDataset
from anytime_core.transfer import to_device

_MOST_DRAWS = 1000

_Failure = tuple[int, str]
"""The number of an item that cannot be read, and why."""


class _Gathered(Dataset):
    """A data set indexed by lists. It asks the set for the whole batch if the set has `batch`.

    Args:
        dataset: the data set.
        whole: whether to draw other items in place of those that cannot be read.
        unreadable: items that are known to be unreadable; they are not tried again.
    """

    def __init__(self, dataset: SampleDataset, *, whole: bool, unreadable: set[int]) -> None:
        self.dataset, self.whole, self.unreadable = dataset, whole, unreadable

    def __getitem__(self, indices: Sequence[int]) -> tuple[Mapping[str, Any] | None, list[_Failure]]:
        """The batch, None if nothing of it can be read, and the items that were found unreadable."""
        indices = list(indices)
        gather = getattr(self.dataset, "batch", None)
        if gather:
            return {**gather(indices), "index": torch.tensor(indices)}, []
        failures: list[_Failure] = []
        items: dict[int, Mapping[str, Any]] = {}

        def readable(index: int) -> bool:
            if index not in items and (item := self._read(index, failures)) is not None:
                items[index] = {**item, "index": index}
            return index in items

        if self.whole:
            indices = replaced(indices, len(self.dataset), readable, failures)
        batch = [items[index] for index in indices if readable(index)]
        return default_collate(batch) if batch else None, failures

    def _read(self, index: int, failures: list[_Failure]) -> Mapping[str, Any] | None:
        if index in self.unreadable:
            return None
        try:
            return self.dataset[index]
        except DataError as error:
            self.unreadable.add(index)
            failures.append((index, str(error)))
            return None


def replaced(
    indices: Sequence[int], size: int, readable: Callable[[int], bool], failures: Sequence[_Failure] = ()
) -> list[int]:
    """`indices` of a set of `size` items, others drawn at random in place of those that are not `readable`.

    They follow from `indices` alone, not from workers or resuming.

    Raises:
        DataError: hardly any item can be read; it tells of the first of `failures`.
    """
    chosen = list(indices)
    bad = [position for position, index in enumerate(indices) if not readable(index)]
    generator = torch.Generator().manual_seed(zlib.crc32(repr(chosen).encode())) if bad else None
    for position in bad:
        for _ in range(_MOST_DRAWS):
            index = int(torch.randint(size, (), generator=generator))
            if readable(index):
                chosen[position] = index
                break
        else:
            raise DataError(
                f"none of {_MOST_DRAWS:,} samples drawn at random can be read"
                + (f": {failures[0][1]}" if failures else "")
            )
    return chosen


class Batches:
    """Batches `{"x": [B, ...]}` with `"label"` [B] if known and `"index"` [B], the numbers of the items.

    Args:
        dataset: the data set; if it remembers damaged items, they are added there.
        sampler: gives lists of items.
        workers: the number of processes that load, if the data is not in memory.
        whole: see `_Gathered`.
        gaps: whether to give None for a batch of which nothing can be read; else it is left out.
    """

    def __init__(
        self, dataset: SampleDataset, sampler: Any, workers: int, *, whole: bool = False, gaps: bool = False
    ) -> None:
        self.damaged, self.gaps = damaged(dataset), gaps
        # Sets that give whole batches hold them in memory, and worker processes would only copy them.
        workers = 0 if hasattr(dataset, "batch") else workers
        self.gathered = _Gathered(dataset, whole=whole, unreadable=set(self.damaged.reasons))
        self.loader = DataLoader(self.gathered, sampler=sampler, batch_size=None, num_workers=workers)

    def __iter__(self) -> Iterator[Any]:
        return self._told(iter(self.loader))  # started at once, because it draws a random number

    def _told(self, loaded: Iterator[tuple[Mapping[str, Tensor] | None, list[_Failure]]]) -> Iterator[Any]:
        empty = True
        for batch, failures in loaded:
            self._note(failures)
            empty = empty and batch is None
            if batch is not None or self.gaps:
                yield batch
        if empty and not self.gaps and self.damaged.count:
            raise DataError(f"nothing of the data can be read: {self.damaged.examples[0]}")

    def _note(self, failures: Sequence[_Failure]) -> None:
        for index, reason in failures:
            self.damaged.add(index, reason)
            self.gathered.unreadable.add(index)


def step_samples(samples: int, batch_size: int) -> int:
    """How many of `samples` training samples a step sees, in all processes together.

    Raises:
        UsageError: there are fewer samples than processes.
    """
    processes = world_size()
    if samples < processes:
        raise UsageError(f"{samples} training samples cannot be split over {processes} processes: use fewer of them")
    return min(batch_size, samples // processes * processes)


class _Shuffled:
    """Endless lists of some of `items`. Each epoch is a new permutation that follows from the seed and its number.

    This process gets its share of each batch, so that all processes together see what one process would.
    """

    def __init__(self, items: Sequence[int], batch_size: int, seed: int, done: int) -> None:
        self.items, self.size, self.seed, self.done = items, len(items), seed, done
        self.batch_size = step_samples(self.size, batch_size)
        share = self.batch_size // world_size()
        self.own = slice(rank() * share, (rank() + 1) * share)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, skipped = divmod(self.done, self.size // self.batch_size)
        while True:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
            order = torch.randperm(self.size, generator=generator)
            # The incomplete last batch is left out; the next epoch's order is another one.
            starts = range(0, self.size - self.batch_size + 1, self.batch_size)
            for start in starts[skipped:]:
                yield [self.items[number] for number in order[start : start + self.batch_size][self.own].tolist()]
            epoch, skipped = epoch + 1, 0


class ShuffledBatches(Batches):
    """Endless shuffled batches.

    Args:
        dataset: the data set, which is shuffled again in each epoch.
        items: the numbers of the items that are used; None: all.
        batch_size: B, of all processes together; their number divides it.
        seed: the order follows from it.
        workers: the number of processes that load, if the data is not in memory.
        done: the number of batches to leave out at the start, because they were seen before.
    """

    def __init__(
        self,
        dataset: SampleDataset,
        batch_size: int,
        *,
        seed: int,
        workers: int,
        done: int = 0,
        items: Sequence[int] | None = None,
    ) -> None:
        self.items = range(len(dataset)) if items is None else items
        super().__init__(dataset, _Shuffled(self.items, batch_size, seed, done), workers, whole=True)
        self.dataset, self.batch_size, self.seed, self.workers, self.done = dataset, batch_size, seed, workers, done

    @property
    def unreadable(self) -> Set[int]:
        """The items that are known to be unreadable."""
        return self.gathered.unreadable

    def lists(self, after: int) -> Iterator[list[int]]:
        """The items of each batch that follows the first `after` ones, before unreadable ones are replaced."""
        return iter(_Shuffled(self.items, self.batch_size, self.seed, self.done + after))

    def after(self, number: int) -> ShuffledBatches:
        """The batches that follow the first `number` ones."""
        return ShuffledBatches(
            self.dataset,
            self.batch_size,
            seed=self.seed,
            workers=self.workers,
            done=self.done + number,
            items=self.items,
        )

    def replaced(self, indices: Sequence[int], readable: Callable[[int], bool]) -> list[int]:
        """`indices`, others in place of those that are not `readable`, as loaded batches have them."""
        return replaced(indices, len(self.dataset), readable)

    def read(self, indices: Sequence[int]) -> Mapping[str, Tensor] | None:
        """A batch of those of the items `indices` that can be read, None if there are none; in this process."""
        batch, failures = _Gathered(self.dataset, whole=False, unreadable=self.gathered.unreadable)[indices]
        self._note(failures)
        return batch


def spread(size: int, limit: int | None) -> list[int]:
    """The numbers of `limit` items, evenly spread over `size` items, which may be sorted by class; None: all."""
    number = size if limit is None else min(limit, size)
    return [position * size // number for position in range(number)]


def ordered_batches(
    dataset: SampleDataset, batch_size: int, *, limit: int | None = None, workers: int, whole: bool = False
) -> Batches:
    """Batches of all items in order, or of `limit` items spread evenly over the set, which may be sorted by class.

    With `whole`, other items are drawn at random in place of those that cannot be read, so that no batch gets smaller.
    """
    picked = spread(len(dataset), limit)
    size = len(picked)
    lists = [picked[start : start + batch_size] for start in range(0, size, batch_size)]
    return Batches(dataset, lists, workers, whole=whole)


def listed_batches(dataset: SampleDataset, lists: Sequence[Sequence[int]], *, workers: int) -> Batches:
    """The batches of the items that `lists` name, None for a batch of which nothing can be read."""
    return Batches(dataset, lists, workers, gaps=True)


def on_device(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The batch on `device`."""
    return {name: to_device(value, device) for name, value in batch.items()}
