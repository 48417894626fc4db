"""Deadlines: codes are drawn while there is time left for decoding and writing, whose cost earlier calls have shown."""

from __future__ import annotations

import json
import math
import platform
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from anytime_core.data.files import write_json
from anytime_core.data.reading import JSON_LIMIT, read_limited

COSTS_FILE = "costs.json"
"""The file of a run with the times of decoding and writing in its latest calls with a deadline."""

_REMEMBERED = 16
_RECENT_STEPS = 4

Clock = Callable[[], float]


class Costs:
    """Seconds that kinds of work took recently on one device, for each batch size.

    Args:
        file: the file that keeps them between processes; None: they are not kept.
        device: the device.
    """

    def __init__(self, file: Path | None, device: torch.device) -> None:
        self.file, self.place = file, _place(device)
        self._all: dict[str, Any] = _read(file)
        self._here: dict[str, dict[str, list[float]]] = self._all.setdefault(self.place, {})

    def note(self, work: str, batch: int, seconds: float) -> None:
        """Remember the seconds of a piece of work."""
        measured = self._here.setdefault(work, {}).setdefault(str(batch), [])
        measured.append(round(seconds, 6))
        del measured[:-_REMEMBERED]

    def expected(self, work: str, batch: int) -> float | None:
        """Seconds that `work` on `batch` samples will hardly exceed: the second largest of the latest measurements.

        For a new batch size they follow from the nearest larger one, or else from the nearest smaller one. None if
        nothing is known.
        """
        known = {int(size): measured for size, measured in self._here.get(work, {}).items() if measured}
        if not known:
            return None
        nearest = min(known, key=lambda size: (size < batch, abs(size - batch)))
        slow = sorted(known[nearest])[-2:][0]
        return slow * max(1.0, batch / nearest)

    def save(self) -> None:
        """Keep them for later processes, unless the run folder cannot be written to."""
        if self.file is not None:
            with suppress(OSError):
                write_json(self.file, self._all, durable=False)


class Deadline:
    """The end of a call, which starts when this object is made.

    Args:
        seconds: the time for the call as a whole.
        costs: the costs of decoding and writing.
        works: the work after the codes of each batch, such as `decode` and `write`.
        last: the work after all batches -> the number of its samples.
        clock: the time in seconds.
    """

    def __init__(
        self,
        seconds: float,
        costs: Costs,
        works: Sequence[str],
        *,
        last: Mapping[str, int] = MappingProxyType({}),
        clock: Clock = time.perf_counter,
    ) -> None:
        self.costs, self.works, self.last, self.clock = costs, works, last, clock
        self.seconds, self.end = seconds, clock() + seconds

    def took(self, left: Mapping[str, int]) -> float:
        """Seconds from the beginning to now, plus those expected for the work that is left.

        Args:
            left: work that is left -> the number of its samples.
        """
        expected = sum(self.costs.expected(*work) or 0.0 for work in left.items())
        return self.seconds + self.clock() - self.end + expected

    def pace(self, batch: int, batches_left: int) -> Pace:
        """The pace of the next batch, which gets an equal part of the time that is left for all batches."""
        expected = (self.costs.expected(work, batch) or 0.0 for work in self.works)
        reserve = sum(expected)
        now = self.clock()
        left = self.end - sum(self.costs.expected(*work) or 0.0 for work in self.last.items()) - now
        return Pace(now + left / batches_left - reserve, self.clock)


class Pace:
    """Says after each code whether the next one will be in time.

    Args:
        end: the time at which the last code must be drawn.
        clock: the time in seconds.
    """

    def __init__(self, end: float, clock: Clock) -> None:
        self.end, self.clock = end, clock
        self.begin()
        self._steps: deque[float] = deque(maxlen=_RECENT_STEPS)

    def begin(self) -> None:
        """Start the time of the first code; work before it does not count as a step."""
        self._before = self.clock()

    def steps(self, seconds: float) -> int:
        """How many steps of `seconds` each there is time for."""
        return int(max(0.0, self.end - self.clock()) / max(seconds, 1e-9))

    def stops(self, ahead: int = 1) -> bool:
        """Called after each step: whether `ahead` more steps, as slow as the slowest recent one, would be late."""
        now = self.clock()
        self._steps.append(now - self._before)
        self._before = now
        return now + ahead * max(self._steps) > self.end


def _place(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {platform.machine()}, {torch.get_num_threads()} threads"


def _size(batch: str) -> str:
    """`batch` in its plain form. Raises ValueError if it is not a batch size."""
    if int(batch) < 1:
        raise ValueError(batch)
    return str(int(batch))


def _seconds(value: Any) -> float:
    """`value` as seconds. Raises ValueError if no work can take them."""
    seconds = float(value)
    if not 0 <= seconds < math.inf:
        raise ValueError(value)
    return seconds


def _read(file: Path | None) -> dict[str, Any]:
    """The contents of a file of costs; empty if it is damaged, as costs can always be measured again."""
    if file is None:
        return {}
    try:
        data = json.loads(read_limited(file, JSON_LIMIT))
        return {
            str(place): {
                str(work): {_size(batch): [_seconds(value) for value in measured] for batch, measured in sizes.items()}
                for work, sizes in works.items()
            }
            for place, works in data.items()
        }
    except (OSError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError):
        return {}
