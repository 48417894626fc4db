"""How many samples to draw at a time."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Range(NamedTuple):
    """The sizes that are tried."""

    first: int
    largest: int


_RANGES = {"cpu": Range(64, 1024), "cuda": Range(512, 4096)}
_KEPT = 2**32
"""The most bytes that a batch may keep on the CPU."""
_KEPT_SHARE = 0.4
"""Of the memory of a GPU that is free, as decoding needs some too, and the loops of smaller batches are kept."""
_WORTH = 1.05
"""A batch is doubled as long as this factor is gained in samples per second."""


class BatchSizes:
    """The sizes of the batches of a job: doubled as long as that draws more samples per second.

    Args:
        given: the size that was asked for; None finds it.
        largest: the largest size that samples and memory allow.
        measures: whether sizes may change within the job.
        device: where samples are drawn. Each size costs a GPU the capture of its graphs, so fewer are tried there.
    """

    def __init__(
        self, given: int | None, largest: int, *, measures: bool = True, device: torch.device | None = None
    ) -> None:
        sizes = _RANGES.get("cpu" if device is None else device.type, _RANGES["cpu"])
        self.largest = min(largest, given or sizes.largest)
        self._size = min(given or sizes.first, self.largest)
        self._searches = given is None and measures
        self._best, self._best_rate = self._size, 0.0

    def next(self) -> int:
        """The size of the next batch."""
        return self._size

    def note(self, size: int, seconds: float) -> None:
        """Note the time of a batch. The last batch may have another size than `next`, and then does not count."""
        if not self._searches or size != self._size:
            return
        rate = size / max(seconds, 1e-9)
        if rate < self._best_rate * _WORTH:
            self._searches, self._size = False, self._best
            return
        self._best, self._best_rate = size, rate
        self._size = min(2 * size, self.largest)
        self._searches = self._size > size

    def fall_back(self) -> bool:
        """Go back to the best size, as there was no memory for a larger one; False if there is no smaller one."""
        if not self._searches or not self._best_rate:
            return False
        self._searches, self._size = False, self._best
        return True


def largest_batch(numbers: int, device: torch.device) -> int:
    """How many samples memory allows, at least 1, if each keeps so many numbers of 32 bits while it is drawn."""
    kept = _KEPT_SHARE * torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else _KEPT
    return max(1, int(kept // (4 * numbers)))
