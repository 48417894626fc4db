"""What a training reports: numbers to `metrics.jsonl` and TensorBoard, and progress through a callback."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from anytime_core.data.files import write_text
from anytime_core.distributed import rank
from anytime_core.record import STAGES, Stage


@dataclass(frozen=True)
class Progress:
    """How far a stage got.

    Attributes:
        stage: `autoencoder`, `codes` or `prior`.
        step: the number of steps done.
        steps: the number of steps in all.
        values: the latest numbers, such as `loss`, in the order in which to show them.
        activity: what is being done between two steps, such as `validating`; empty at a step.
        forecast: seconds that this stage and the stages after it will still take; given once, after the first ten
            steps.
    """

    stage: Stage
    step: int
    steps: int
    values: Mapping[str, float] = field(default_factory=dict)
    activity: str = ""
    forecast: Mapping[Stage, float] | None = None


OnProgress = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """The callback of callers who do not need progress."""


class MetricsLog:
    """Appends numbers to `metrics.jsonl` and to the TensorBoard event files of a run folder.

    If there are several processes, only the first one writes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Self:
        if rank() == 0:
            from torch.utils.tensorboard import SummaryWriter

            self._lines = self._file.open("a", encoding="utf-8")
            self._board = SummaryWriter(str(self.folder / "tensorboard"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if rank() == 0:
            self._lines.close()
            self._board.close()

    @property
    def _file(self) -> Path:
        return self.folder / "metrics.jsonl"

    def forget(self, stage: Stage, step: int) -> None:
        """Remove the lines of the steps that will be trained again: those of `stage` after `step`, and later stages."""
        if rank() != 0:
            return
        self._lines.close()
        lines = self._file.read_text(encoding="utf-8", errors="replace").splitlines()
        while lines and _is_later(lines[-1], stage, step):
            lines.pop()
        write_text(self._file, "".join(f"{line}\n" for line in lines))
        self._lines = self._file.open("a", encoding="utf-8")

    def write(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Write a line of JSON, with null for numbers that are not finite, and a scalar `stage/name` for each value."""
        if rank() != 0:
            return
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        record = {"time": round(time.time(), 3), "stage": stage, "step": step, **finite}
        self._lines.write(json.dumps(record, allow_nan=False) + "\n")
        self._lines.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{stage}/{name}", value, step)


def _is_later(line: str, stage: Stage, step: int) -> bool:
    """Whether a line is of a later step, is half written, or is not a line of this log."""
    try:
        record = json.loads(line)
        return (STAGES.index(record["stage"]), record["step"]) > (STAGES.index(stage), step)
    except (ValueError, LookupError, TypeError, RecursionError):
        return True
