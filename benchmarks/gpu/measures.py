"""What is measured, against its goal: rows that are printed as they come, kept in a file, and summed up at the end."""

from __future__ import annotations

import dataclasses
import platform
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Console
from rich.table import Table

from anytime_core.data.files import write_json

Status = Literal["measured", "failed", "skipped"]


@dataclass(frozen=True)
class Goal:
    """What a number should be on one H100: at least `value`, or at most if `less`."""

    value: float
    less: bool = False

    def reached(self, found: float) -> bool:
        """Whether a number is as good as that."""
        return found <= self.value if self.less else found >= self.value

    def __str__(self) -> str:
        return f"{'<=' if self.less else '>='} {shown(self.value)}"


GOALS = {
    "codes, batch 1": Goal(100),
    "codes, batch 64": Goal(3_500),
    "codes, batch 512": Goal(16_000),
    "codes, batch 4096": Goal(28_000),
    "codes, 2 key-value heads, batch 4096": Goal(60_000),
    "against the best peer, batch 1": Goal(40),
    "against the best peer, batch 64": Goal(20),
    "against the best peer, batch 512": Goal(14),
    "time of 25 % of the codes over all, batch 512": Goal(0.22, less=True),
    "start-up: anytime sample --num 64": Goal(4, less=True),
    "whole command: anytime sample --pack": Goal(10_000),
    "training, CIFAR-10 networks, batch 128": Goal(60_000),
    "whole CIFAR-10 recipe, forecast": Goal(10, less=True),
}
"""Name of a measure -> its goal. What is not here has none, or says it itself."""


@dataclass(frozen=True)
class Measure:
    """One row.

    Attributes:
        name: what was measured.
        found: the number; None if there is none.
        unit: of the number.
        goal: the goal; the journal adds that of `GOALS`.
        status: whether it was measured.
        note: what else there is to say, such as why there is no number.
        trace: of the error that it failed with.
    """

    name: str
    found: float | None = None
    unit: str = ""
    goal: Goal | None = None
    status: Status = "measured"
    note: str = ""
    trace: str = ""

    @classmethod
    def failed(cls, name: str, error: BaseException) -> Measure:
        """The row of what failed, with the last line of the error."""
        said = (str(error).strip() or "no message").splitlines()[-1]
        trace = "".join(traceback.format_exception(error))
        return cls(name, status="failed", note=f"{type(error).__name__}: {said}", trace=trace)

    @classmethod
    def skipped(cls, name: str, why: str) -> Measure:
        """The row of what was left out."""
        return cls(name, status="skipped", note=why)

    @property
    def reached(self) -> bool | None:
        """Whether the goal is reached; None without a goal."""
        if self.goal is None:
            return None
        return self.found is not None and self.goal.reached(self.found)

    @property
    def verdict(self) -> str:
        """In a word."""
        if self.status != "measured":
            return self.status
        return {None: "", True: "reached", False: "NOT reached"}[self.reached]

    def __str__(self) -> str:
        found = "" if self.found is None else f": {shown(self.found)} {self.unit}".rstrip()
        goal = f" (goal {self.goal}: {self.verdict})" if self.goal is not None else ""
        if self.status != "measured":
            goal = f": {self.status}"
        return f"{self.name}{found}{goal}{f' - {self.note}' if self.note else ''}"


def shown(number: float) -> str:
    """A number with three digits that say something, or all before the point."""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


class Journal:
    """All rows so far: each is printed at once and the file is replaced, so that a run that is cut off loses nothing.

    Args:
        file: for the results.
        about: what stands beside them in the file.
        judges: whether rows are held against `GOALS`.
    """

    def __init__(self, file: Path, about: dict[str, Any], *, judges: bool = True) -> None:
        self.file, self.about, self.judges = file, about, judges
        self.rows: list[Measure] = []
        self.started = time.perf_counter()
        self._write(finished=False)

    def add(self, measure: Measure) -> None:
        """Print and keep a row."""
        if self.judges and measure.goal is None:
            measure = dataclasses.replace(measure, goal=GOALS.get(measure.name))
        self.rows.append(measure)
        print(f"[{time.perf_counter() - self.started:4.0f} s] {measure}", flush=True)
        self._write(finished=False)

    @property
    def found(self) -> dict[str, float]:
        """The numbers so far, by name."""
        return {row.name: row.found for row in self.rows if row.found is not None}

    def finish(self, *, whole: bool = True) -> None:
        """Print the table, and what falls short. A `whole` run also names goals that nothing was measured for."""
        names = {row.name for row in self.rows}
        for name in GOALS:
            if whole and self.judges and name not in names:
                self.add(Measure.skipped(name, "not measured, see above"))
        self._write(finished=True)
        table = Table("measure", "found", "goal", "reached", title=f"On {self.about['device']}")
        for row in self.rows:
            found = "" if row.found is None else f"{shown(row.found)} {row.unit}"
            table.add_row(row.name, found, str(row.goal or ""), row.verdict)
        Console(width=max(100, Console().width)).print(table)
        self._list(
            "Falls short of its goal", [row for row in self.rows if row.status == "measured" and row.reached is False]
        )
        self._list("Failed", [row for row in self.rows if row.status == "failed"])
        self._list("Skipped", [row for row in self.rows if row.status == "skipped"])

    @staticmethod
    def _list(title: str, rows: Sequence[Measure]) -> None:
        print(f"{title}: {'nothing' if not rows else ''}", flush=True)
        for row in rows:
            print(f"  {row}", flush=True)

    def _write(self, *, finished: bool) -> None:
        rows = [
            {**dataclasses.asdict(row), "goal": None if row.goal is None else str(row.goal), "reached": row.reached}
            for row in self.rows
        ]
        seconds = round(time.perf_counter() - self.started, 1)
        write_json(self.file, {**self.about, "seconds": seconds, "finished": finished, "rows": rows})


def surroundings(device: str) -> dict[str, Any]:
    """The device by its name, and the versions that numbers depend on."""
    on_gpu = device.startswith("cuda")
    name = torch.cuda.get_device_name(device) if on_gpu else torch.cpu.get_capabilities().get("cpu_name", "CPU")
    try:
        import triton

        has_triton: str | None = triton.__version__
    except ImportError:
        has_triton = None
    return {
        "device": name,
        "capability": list(torch.cuda.get_device_capability(device)) if on_gpu else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": has_triton,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }
