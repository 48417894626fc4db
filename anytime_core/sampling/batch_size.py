"""How many samples to draw at a time."""

from __future__ import annotations

_FIRST = 64
_LARGEST = 1024
_WORTH = 1.05
"""A batch is doubled as long as this factor is gained in samples per second."""


class BatchSizes:
    """The sizes of the batches of a job: doubled as long as that draws more samples per second.

    Args:
        given: the size that was asked for; None finds it.
        largest: the largest size that samples and memory allow.
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
