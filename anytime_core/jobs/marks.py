"""Marks that a killed sampling job goes on from."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anytime_core.data.files import flush_all
from anytime_core.jobs.ledger import LEDGER_FILES, Ledger
from anytime_core.jobs.output import Output
from anytime_core.jobs.output_folder import FILLING
from anytime_core.sampling.samples import Samples

_FLUSHING_SHARE = 0.1
"""The share of the time between two marks that bringing samples to the disk may take."""


class Progress:
    """How far a job is.

    Attributes:
        done: how many samples are written.
        most_codes: the most codes that one of them has.
        calls: the most calls of the prior's network for one batch.
        seconds: spent on each part of the work, by all processes together.
        marked: whether another call can go on from what is on the disk.
    """

    def __init__(self) -> None:
        self.done, self.most_codes, self.calls = 0, 0, 0
        self.seconds = {"load": 0.0, "codes": 0.0, "decode": 0.0, "write": 0.0}
        self.marked = False
        self._next_mark = 0.0
        self._flushes: deque[float] = deque([0.0], maxlen=2)

    def add(self, batch: Samples) -> None:
        """Count a batch that is written."""
        self.done += len(batch.indices)
        self.most_codes = max(self.most_codes, *batch.lengths.tolist())
        self.calls = max(self.calls, batch.calls)
        for name, value in batch.seconds.items():
            self.seconds[name] += value

    def mark_if_due(self, folder: Path, output: Output[Any], ledger: Ledger) -> None:
        """Set a mark, once all is on the disk; rarely enough to take little time."""
        if time.perf_counter() < self._next_mark:
            return
        state = output.state()
        ledger.flush()
        started = time.perf_counter()
        flush_all(folder)
        self._flushes.append(time.perf_counter() - started)
        drawn = {"done": self.done, "most": self.most_codes, "calls": self.calls}
        ledger.mark(**drawn, seconds=self.seconds, output=state)
        # The shorter of the last two: one may have waited for what other programs had written.
        self._next_mark = time.perf_counter() + min(self._flushes) * (1 / _FLUSHING_SHARE - 1)
        self.marked = True

    def go_on(self, mark: dict[str, Any]) -> None:
        """Go on from the mark of a killed job."""
        self.done, self.most_codes, self.calls = mark["done"], mark["most"], mark["calls"]
        self.seconds |= {name: value for name, value in mark["seconds"].items() if name != "load"}
        self.marked = True


def remove_unmarked(folder: Path, indices: Sequence[int]) -> None:
    """Remove files of samples that a killed job wrote after its last mark, each in a file of its own."""
    unmarked = indices if isinstance(indices, range) else set(indices)
    with os.scandir(folder) as entries:
        paths = [entry.path for entry in entries if _index(entry.name) in unmarked]
    for path in paths:
        os.unlink(path)


def remove_all(folder: Path) -> None:
    """Remove what a job left that was killed before its first mark."""
    with os.scandir(folder) as entries:
        left = [entry.path for entry in entries if entry.name not in (FILLING, *LEDGER_FILES)]
    for path in left:
        os.unlink(path)


def _index(name: str) -> int | None:
    """The sample that a file of its own shows."""
    digits = name.partition(".")[0].partition("-")[0]
    return int(digits) if digits.isdecimal() else None
