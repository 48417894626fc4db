"""Shuffled batches on the device of a training. Data that fits there is read once and gathered there.

n is the number of items of the data set.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from anytime_core.training.batches import ShuffledBatches, on_device
from anytime_core.transfer import to_device

logger = logging.getLogger(__name__)

_FEW = 50
"""Once all items but one in so many have been read, the rest is read as it is needed, without worker processes."""


class DeviceBatches:
    """Endless shuffled batches `{"x": [B, ...], ...}` on the device: the same ones, wherever their items are kept.

    Args:
        batches: the batches as the host loads them.
        device: where they go.
    """

    def __init__(self, batches: ShuffledBatches, device: torch.device) -> None:
        self.batches, self.device = batches, device
        self._example: Mapping[str, Tensor] | None = None
        self._kept: dict[str, Tensor] | None = None  # [n, ...] each, on the device
        self._filled = np.zeros(len(batches.dataset), bool)

    def keep(self) -> None:
        """Keep what is read from now on, if all of the data fits. To be called when steps have shown what they need."""
        if self._example is None:
            return
        size = len(self._filled)
        if size * sum(value[0].nbytes for value in self._example.values()) > room(self.device):
            return
        try:
            self._kept = {
                name: torch.empty(size, *value.shape[1:], dtype=value.dtype, device=self.device)
                for name, value in self._example.items()
            }
        except torch.OutOfMemoryError:
            self._kept = None

    def release(self) -> bool:
        """Free the memory of what is kept, which the host loads again; returns whether there was anything."""
        if self._kept is None:
            return False
        logger.warning(
            "the data no longer fits on %s beside the training: it is loaded for each step again", self.device
        )
        self._kept = None
        self._filled[:] = False
        return True

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return self._delivered(iter(self.batches))  # started at once, because it draws a random number

    def _delivered(self, loaded: Iterator[Mapping[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
        delivered = 0
        while True:
            while not self._nearly_all:
                yield self._moved(next(loaded))
                delivered += 1
            del loaded  # which ends its processes
            for indices in self.batches.lists(delivered):
                if self._kept is None:
                    break
                yield self._gathered(self._kept, indices)
                delivered += 1
            loaded = iter(self.batches.after(delivered))

    @property
    def _nearly_all(self) -> bool:
        """Whether hardly any item is still to be read."""
        items = len(self.batches.items)
        missing = items - int(np.count_nonzero(self._filled)) - len(self.batches.unreadable)
        return self._kept is not None and missing <= max(items // _FEW, self.batches.batch_size)

    def _moved(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A loaded batch on the device; its items are kept there if any are."""
        values = on_device({name: value for name, value in batch.items() if name != "index"}, self.device)
        self._example = values
        if self._kept is not None:
            self._store(self._kept, values, batch["index"])
        return values

    def _store(self, kept: Mapping[str, Tensor], values: Mapping[str, Tensor], index: Tensor) -> None:
        rows = to_device(index, self.device)
        for name, value in values.items():
            kept[name].index_copy_(0, rows, value)
        self._filled[index.numpy()] = True

    def _gathered(self, kept: Mapping[str, Tensor], indices: Sequence[int]) -> dict[str, Tensor]:
        """The batch of `indices`, from what is kept."""
        if not self._filled[indices].all():
            indices = self.batches.replaced(indices, lambda index: self._is_kept(kept, index))
        rows = to_device(torch.tensor(indices), self.device)
        return {name: values.index_select(0, rows) for name, values in kept.items()}

    def _is_kept(self, kept: Mapping[str, Tensor], index: int) -> bool:
        """Read an item if it is not kept yet; returns whether it can be read."""
        if not self._filled[index] and (batch := self.batches.read([index])) is not None:
            values = on_device({name: value for name, value in batch.items() if name != "index"}, self.device)
            self._store(kept, values, batch["index"])
        return bool(self._filled[index])


def room(device: torch.device) -> int:
    """The bytes of a GPU that data may take: half of what is free beyond twice what the training has needed so far."""
    if device.type != "cuda":
        return 0
    free, _ = torch.cuda.mem_get_info(device)
    return max(0, free - 2 * torch.cuda.max_memory_allocated(device)) // 2
