"""How many samples to draw at a time."""

from __future__ import annotations

_FIRST = 64
_LARGEST = 1024
_WORTH = 1.05
"""Gain in samples a second for which a batch is doubled."""


class BatchSizes:
    """Sizes of the batches of a job: doubled as long as that draws more samples a second.

    Args:
        given: the size that was asked for; None finds it.
        largest: as many as there are samples, and as memory allows.
        measures: whether sizes may change within the job.
    """

    def __init__(self, given: int | None, largest: int, *, measures: bool = True) -> None:
        self.largest = min(largest, given or _LARGEST)
        self._size = min(given or _FIRST, self.largest)
        self._searches = given is None and measures
        self._best, self._best_rate = self._size, 0.0

    def next(self) -> int:
        """The size of the next batch."""
        return self._size

    def note(self, size: int, seconds: float) -> None:
        """What a batch took; one that is not of the size given by `next`, being the last, says nothing."""
        if not self._searches or size != self._size:
            return
        rate = size / max(seconds, 1e-9)
        if rate < self._best_rate * _WORTH:
            self._searches, self._size = False, self._best
            return
        self._best, self._best_rate = size, rate
        self._size = min(2 * size, self.largest)
        self._searches = self._size > size
