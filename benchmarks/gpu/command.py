"""What the whole command takes: from its start to the last file."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.gpu import runs
from benchmarks.gpu.measures import Measure
from benchmarks.gpu.setting import Item, Setting

_MANY = 100_000
_FIRST = 4_096
_START_UP = 4.0
"""About how many seconds pass before the first sample."""


@dataclass(frozen=True)
class Called:
    """One call of `anytime sample`.

    Attributes:
        wall: seconds from its start to its end.
        parts: what samples.json says of where they went.
    """

    wall: float
    parts: dict[str, float]

    @property
    def shares(self) -> str:
        """Where the time went."""
        told = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in self.parts.items())
        return f"{self.wall:.3g} s; samples.json says {told}"


def items(setting: Setting) -> Sequence[Item]:
    """The rate, start-up, and that commands need no option to use the GPU."""
    return [
        Item("whole command: anytime sample --pack", 15, partial(_whole, setting)),
        Item("start-up: anytime sample --num 64", 6, partial(_start_up, setting)),
        Item("anytime train, sample and evaluate without options", 40, partial(_without_options, setting)),
    ]


def sample(setting: Setting, run: Path, out: Path, *options: str) -> Called:
    """Call `anytime sample` in a process of its own. Raises RuntimeError with what it says if it fails."""
    shutil.rmtree(out, ignore_errors=True)
    started = time.perf_counter()
    call(setting, "sample", "--run", str(run), "--out", str(out), "--device", setting.device, *options)
    wall = time.perf_counter() - started
    return Called(wall, json.loads((out / "samples.json").read_text(encoding="utf-8"))["seconds"])


def call(setting: Setting, *arguments: str) -> str:
    """Call `anytime` in the benchmark's folder and return what it prints. Raises RuntimeError if it fails."""
    command = [sys.executable, "-m", "anytime_cli.main", *arguments]
    done = subprocess.run(command, cwd=setting.folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        raise RuntimeError(f"anytime {arguments[0]} ended with status {done.returncode}: {' '.join(said[-3:])}")
    return done.stdout


def _whole(setting: Setting) -> Iterator[Measure]:
    """A few samples, which also compiles what is compiled once for a machine, then as many as there is time for."""
    run, out = runs.cifar(setting), setting.folder / "many"
    number = 256 if setting.tiny else _FIRST
    options = ("--pack", "--precision", "auto")
    called = sample(setting, run, out, "--num", str(number), *options)
    yield Measure(f"whole command, {number:,} samples", number / called.wall, "samples/s", note=called.shares)
    rate = number / max(called.wall - _START_UP, 0.2)
    affordable = int(rate * (setting.left - 4 * _START_UP) * 0.6)
    if affordable > 2 * number:
        number = min(_MANY, affordable)
        called = sample(setting, run, out, "--num", str(number), *options)
    note = f"{number:,} samples; {called.shares}"
    if number < _MANY:
        note += f"; {_MANY:,} did not fit into the time, and start-up counts for more"
    shutil.rmtree(out, ignore_errors=True)
    yield Measure("whole command: anytime sample --pack", number / called.wall, "samples/s", note=note)


def _start_up(setting: Setting) -> Iterator[Measure]:
    called = sample(setting, runs.cifar(setting), setting.folder / "start-up", "--num", "64")
    yield Measure("start-up: anytime sample --num 64", called.wall, "s", note=called.shares)


def _without_options(setting: Setting) -> Iterator[Measure]:
    few = ("--set", "training.autoencoder.steps=40", "--set", "training.prior.steps=40")
    started = time.perf_counter()
    for command in (
        ("train", "--run", "plain-command", *few),
        ("sample", "--run", "plain-command", "--num", "8"),
        ("evaluate", "--run", "plain-command", "--num", "200", "--budgets", "0.5,1"),
    ):
        call(setting, *command)
        name = f"anytime {command[0]} without --device"
        yield Measure(name, time.perf_counter() - started, "s", note="it works")
        started = time.perf_counter()
