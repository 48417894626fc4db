"""What every benchmark prints and writes: a table, and `{"device", "rows"}` as JSON."""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

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


def median_seconds(calls: Sequence[Callable[[], object]], *, repeats: int = 9, warmup: int = 2) -> list[float]:
    """Median time of each call; the calls take turns, so that a slow moment of the machine hits all of them."""
    times: list[list[float]] = [[] for _ in calls]
    for repeat in range(warmup + repeats):
        for call, taken in zip(calls, times, strict=True):
            _synchronise()
            started = time.perf_counter()
            call()
            _synchronise()
            if repeat >= warmup:
                taken.append(time.perf_counter() - started)
    return [statistics.median(taken) for taken in times]


def report(title: str, measure: Callable[..., Sequence[Row]], **options: int) -> None:
    """Run a benchmark: parse `--json FILE` and `options`, measure with these, print the table, write the file.

    Args:
        title: of the table.
        measure: gives the rows.
        options: names of integer arguments of `measure`, and their defaults.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--json", type=Path, help="file for the results")
    for option, default in options.items():
        parser.add_argument(f"--{option}", type=int, default=default, help=f"default: {default}")
    arguments = parser.parse_args()
    show(title, measure(**{option: getattr(arguments, option) for option in options}), arguments.json)


def show(title: str, rows: Sequence[Row], file: Path | None) -> None:
    """Print the table and write `file`, where there is one."""
    table = Table("name", "ours", "peer", "ratio", "unit", "peer's name", title=f"{title}, on {device_name()}")
    for row in rows:
        table.add_row(row.name, f"{row.ours:.4g}", f"{row.peer:.4g}", f"{row.ratio:.2f}", row.unit, row.peer_name)
    Console().print(table)
    if file is not None:
        result = {"device": device_name(), "rows": [dataclasses.asdict(row) for row in rows]}
        file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


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
