"""What every benchmark prints and writes: a line for each row as it is measured, and `{"device", "rows"}` as JSON."""

from __future__ import annotations

import argparse
import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from anytime_core.data.files import write_json
from anytime_core.devices import resolve_device


@dataclass(frozen=True)
class Row:
    """One comparison. `ratio` over 1 means that ours is better."""

    name: str
    ours: float
    peer: float
    peer_name: str
    ratio: float
    unit: str

    def __str__(self) -> str:
        return f"{self.name}: {self.ours:.4g} {self.unit}, {self.peer:.4g} by {self.peer_name}: {self.ratio:.2f}x"


def median_seconds(
    calls: Sequence[Callable[[], object]], *, repeats: int = 9, warmup: int = 2, limit: float = math.inf
) -> list[float]:
    """Median time of each call; the calls take turns, so that a slow moment of the machine hits all of them.

    Args:
        calls: what is measured.
        repeats: the number of turns that count.
        warmup: the number of turns before them.
        limit: seconds after which no further turn begins. If no turn has counted by then, the last one counts.
    """
    turns: list[list[float]] = []
    began = time.perf_counter()
    while len(turns) < warmup + repeats and (not turns or time.perf_counter() - began < limit):
        turns.append([_seconds(call) for call in calls])
    counted = turns[warmup:] or turns[-1:]
    return [statistics.median(taken) for taken in zip(*counted, strict=True)]


def _seconds(call: Callable[[], object]) -> float:
    _synchronise()
    started = time.perf_counter()
    call()
    _synchronise()
    return time.perf_counter() - started


def report(title: str, measure: Callable[..., Iterable[Row]], **options: int) -> None:
    """Run a benchmark: parse `--json FILE` and `options`, measure with these, print the rows, write the file.

    Args:
        title: of the rows.
        measure: gives the rows.
        options: names of integer arguments of `measure`, and their defaults.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--json", type=result_file, help="file for the results")
    for option, default in options.items():
        parser.add_argument(f"--{option}", type=int, default=default, help=f"default: {default}")
    arguments = parser.parse_args()
    show(title, measure(**{option: getattr(arguments, option) for option in options}), arguments.json)


def show(title: str, rows: Iterable[Row], file: Path | None) -> None:
    """Print each row as soon as it is there, and keep all so far in `file`, where there is one."""
    print(f"{title}, on {device_name()}", flush=True)
    shown: list[dict[str, Any]] = []
    for row in rows:
        print(row, flush=True)
        shown.append(dataclasses.asdict(row))
        if file is not None:
            write_json(file, {"device": device_name(), "rows": shown})


def whole_numbers(text: str) -> tuple[int, ...]:
    """The numbers in `1,64,512`, each at least 1, for options of benchmarks."""
    numbers = [int(number) if number.strip().isdecimal() else 0 for number in text.split(",")]
    if not all(numbers):
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of whole numbers of at least 1, such as 1,64")
    return tuple(numbers)


def result_file(text: str) -> Path:
    """A path for results, in a folder that is there."""
    path = Path(text)
    if not path.absolute().parent.is_dir() or path.is_dir():
        raise argparse.ArgumentTypeError(f"'{text}' is not the name of a file in a folder that is there")
    return path


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return resolve_device("auto")


def device_name() -> str:
    """Name of the device that `device` gives."""
    if device().type == "cuda":
        return torch.cuda.get_device_name(device())
    return f"{torch.cpu.get_capabilities().get('cpu_name', 'CPU')}, {torch.get_num_threads()} threads"


def _synchronise() -> None:
    if device().type == "cuda":
        torch.cuda.synchronize(device())
