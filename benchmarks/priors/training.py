"""Training the contenders equally long: by how fast each one trains, measured in turns, follow its steps.

Seconds are those of the processor, which other jobs on the machine change less than the time that passes.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from benchmarks.clock import ENDLESS, steps_a_second

_ROUNDS = 3
_SECONDS = 4.0
"""How long the steps of a contender are counted in each round."""
_VALIDATION = ("training.prior.validations=2", "training.prior.validation_samples=2000")
"""Little of the time goes there; the better weights are kept, and measured on all test codes."""


def measured_rates(
    run: Path, contenders: Mapping[str, Sequence[str]], known: Mapping[str, Sequence[float]]
) -> Iterator[tuple[str, float]]:
    """Yield a contender and its steps a second, one round of all after the other, so that slow moments hit all alike.

    Args:
        run: has the frozen autoencoder and the codes.
        contenders: name -> overrides.
        known: name -> rates of rounds that were done before.
    """
    for done in range(_ROUNDS):
        for name in contenders:
            if len(known.get(name, ())) <= done:
                yield name, _rate(run, contenders[name])


def _rate(run: Path, overrides: Sequence[str]) -> float:
    endless = [f"training.prior.steps={ENDLESS}", "training.prior.validations=1"]
    with tempfile.TemporaryDirectory() as folder:
        return steps_a_second(
            "prior",
            _SECONDS,
            now=time.process_time,
            autoencoder=run,
            run=Path(folder) / "run",
            overrides=[*overrides, *endless],
        )


def steps_within(rates: Sequence[float], seconds: float) -> int:
    """How many steps fit, a multiple of 10."""
    return int(statistics.median(rates) * seconds / 10) * 10


def train_all(
    run: Path, folder: Path, contenders: Mapping[str, Sequence[str]], steps: Mapping[str, int], jobs: int
) -> Iterator[tuple[str, float]]:
    """Train each contender in a run folder of its own, `jobs` at a time.

    Args:
        run: has the frozen autoencoder and the codes.
        folder: of the runs.
        contenders: name -> overrides.
        steps: name -> number of steps.
        jobs: trainings at a time.

    Yields:
        A contender and the seconds of the processor that its training took, in the order in which they end.

    Raises:
        RuntimeError: one failed; the message has its last words.
    """
    with ThreadPoolExecutor(jobs) as pool:
        names = {
            pool.submit(_train, run, folder / name, [*overrides, f"training.prior.steps={steps[name]}"]): name
            for name, overrides in contenders.items()
        }
        for future in as_completed(names):
            yield names[future], future.result()


def _train(run: Path, folder: Path, overrides: Sequence[str]) -> float:
    """Call `anytime train` in a process of its own; a training that was killed goes on."""
    command = [sys.executable, "-m", "anytime_cli.main", "train", "--autoencoder", str(run)]
    command += ["--run", str(folder), "--resume", "auto"]
    for setting in (*overrides, *_VALIDATION):
        command += ["--set", setting]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            words = said.read().decode(errors="replace").strip().splitlines()
            raise RuntimeError(f"training {folder.name} ended with status {process.returncode}: {' '.join(words[-3:])}")
    return used.ru_utime + used.ru_stime
