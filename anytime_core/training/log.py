"""What a training tells the world: numbers to `metrics.jsonl` and TensorBoard, progress through a callback."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class Progress:
    """How far a stage got.

    Attributes:
        stage: `autoencoder`, `codes` or `prior`.
        step: steps done.
        steps: steps in all.
        values: the latest numbers, such as `loss`, in the order to show them.
    """

    stage: str
    step: int
    steps: int
    values: Mapping[str, float] = field(default_factory=dict)


OnProgress = Callable[[Progress], None]


def ignore_progress(progress: Progress) -> None:
    """The callback of callers who do not watch."""


class MetricsLog:
    """Appends numbers to `metrics.jsonl` and to TensorBoard event files of a run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> Self:
        from torch.utils.tensorboard import SummaryWriter

        self._lines = (self.folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._board = SummaryWriter(str(self.folder / "tensorboard"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lines.close()
        self._board.close()

    def write(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """One line of JSON, null for what is no finite number, and one scalar `stage/name` for each value."""
        finite = {name: value if math.isfinite(value) else None for name, value in values.items()}
        record = {"time": round(time.time(), 3), "stage": stage, "step": step, **finite}
        self._lines.write(json.dumps(record, allow_nan=False) + "\n")
        self._lines.flush()
        for name, value in values.items():
            self._board.add_scalar(f"{stage}/{name}", value, step)
