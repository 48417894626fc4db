"""Whether a run is being trained, by which process, and how far it is.

A training holds the lock of its run folder, and writes beside it how far it is. The system releases the lock when the
process ends in any way. If nobody holds the lock, what a killed training wrote does not count.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anytime_core.data.files import holder_of, write_json
from anytime_core.data.reading import JSON_LIMIT, read_limited
from anytime_core.display import shown

LOCK = "training"
"""Name of the lock that a training holds on its run folder."""

_STATUS = f".{LOCK}.status"
_EVERY = 1.0  # seconds


@dataclass(frozen=True)
class InTraining:
    """A training that is under way.

    Attributes:
        process: number of the process; None if it cannot be read.
        host: name of the machine.
        since: when the training began, as an ISO time.
        stage: the current stage; None before the first step.
        step: steps of the stage that are done.
        steps: steps of the stage in all.
    """

    process: int | None
    host: str | None
    since: str | None
    stage: str | None = None
    step: int | None = None
    steps: int | None = None

    def __str__(self) -> str:
        """The state in words, such as `stage prior, step 120 of 700, process 4711 on anna`."""
        place = f"stage {self.stage}, step {self.step:,} of {self.steps:,}" if self.stage else "before its first step"
        return f"{place}, process {self.process} on {shown(self.host or 'an unknown machine')}"


def in_training(folder: Path) -> InTraining | None:
    """The training that is under way in a run folder, None if there is none."""
    holder = holder_of(folder, LOCK)
    if holder is None:
        return None
    process, host, since = holder.get("pid"), holder.get("host"), holder.get("since")
    common = (
        process if isinstance(process, int) else None,
        host if isinstance(host, str) else None,
        since if isinstance(since, str) else None,
    )
    told = _read(folder / _STATUS)
    match told:
        case {"process": written, "stage": str(stage), "step": int(step), "steps": int(steps)} if written == process:
            return InTraining(*common, stage, step, steps)
    return InTraining(*common)


def _read(path: Path) -> Any:
    try:
        return json.loads(read_limited(path, JSON_LIMIT))
    except (OSError, ValueError, RecursionError):
        return None


class StatusTeller:
    """Writes how far the training of a run folder is, once a second at most.

    Args:
        folder: the run folder, whose lock this process holds.
        process: number of this process.
    """

    def __init__(self, folder: Path, process: int) -> None:
        self.path, self.process = folder / _STATUS, process
        self._next = 0.0

    def tell(self, stage: str, step: int, steps: int) -> None:
        """Write how many steps of a stage are done. A full disk is no error here, so that the training goes on."""
        now = time.monotonic()
        if now < self._next and step != steps:
            return
        self._next = now + _EVERY
        told = {"process": self.process, "stage": stage, "step": step, "steps": steps}
        with contextlib.suppress(OSError):
            write_json(self.path, told, durable=False)


@contextlib.contextmanager
def telling_status(folder: Path, process: int) -> Iterator[StatusTeller]:
    """A `StatusTeller` whose file is removed at the end."""
    teller = StatusTeller(folder, process)
    try:
        yield teller
    finally:
        with contextlib.suppress(OSError):
            teller.path.unlink(missing_ok=True)
