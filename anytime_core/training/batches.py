"""Batches of a modality's data set: in order, or shuffled without end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from anytime_core.distributed import rank, world_size
from anytime_core.errors import UsageError
from anytime_core.modality import SampleDataset


class _Gathered(Dataset):
    """A data set indexed by lists: asks the set for the whole batch where it can give one."""

    def __init__(self, dataset: SampleDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, indices: Sequence[int]) -> Mapping[str, Any]:
        indices = list(indices)
        gather = getattr(self.dataset, "batch", None)
        return gather(indices) if gather else default_collate([self.dataset[index] for index in indices])


def step_samples(samples: int, batch_size: int) -> int:
    """How many of `samples` training samples a step sees, in all processes together.

    Raises:
        UsageError: there are fewer than processes.
    """
    processes = world_size()
    if samples < processes:
        raise UsageError(f"{samples} training samples cannot be split over {processes} processes: use fewer of them")
    return min(batch_size, samples // processes * processes)


class _Shuffled:
    """Endless lists of indices: each epoch a new permutation that follows from the seed and the epoch's number.

    Of each batch this process gets its share, so that all processes together see what one would.
    """

    def __init__(self, size: int, batch_size: int, seed: int, done: int) -> None:
        self.size, self.batch_size, self.seed, self.done = size, step_samples(size, batch_size), seed, done
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
                yield order[start : start + self.batch_size][self.own].tolist()
            epoch, skipped = epoch + 1, 0


def shuffled_batches(dataset: SampleDataset, batch_size: int, *, seed: int, workers: int, done: int = 0) -> DataLoader:
    """An endless loader of shuffled batches, each `{"x": [B, ...]}` with `"label"` [B] where known.

    Args:
        dataset: what is shuffled, anew in each epoch.
        batch_size: B, of all processes together; their number divides it.
        seed: what the order follows from.
        workers: processes that load, where the data is not in memory.
        done: how many batches to leave out at the start, as they were seen before.
    """
    return _loader(dataset, _Shuffled(len(dataset), batch_size, seed, done), workers)


def ordered_batches(dataset: SampleDataset, batch_size: int, *, limit: int | None = None, workers: int) -> DataLoader:
    """Batches of all items in order, or of `limit` items spread evenly over the set, which may be sorted by class."""
    size = len(dataset) if limit is None else min(limit, len(dataset))
    picked = [position * len(dataset) // size for position in range(size)]
    lists = [picked[start : start + batch_size] for start in range(0, size, batch_size)]
    return listed_batches(dataset, lists, workers=workers)


def listed_batches(dataset: SampleDataset, lists: Sequence[Sequence[int]], *, workers: int) -> DataLoader:
    """The batches of the items that `lists` name."""
    return _loader(dataset, lists, workers)


def _loader(dataset: SampleDataset, sampler: Any, workers: int) -> DataLoader:
    # Sets that hand out whole batches hold them in memory: worker processes would only copy them.
    workers = 0 if hasattr(dataset, "batch") else workers
    return DataLoader(_Gathered(dataset), sampler=sampler, batch_size=None, num_workers=workers)


def to_device(batch: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """The batch on `device`."""
    return {name: value.to(device, non_blocking=True) for name, value in batch.items()}
