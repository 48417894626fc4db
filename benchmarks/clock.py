"""How fast a training goes: its steps are counted for a few seconds, and then it ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from anytime_core.record import Stage
from anytime_core.training.log import Progress
from anytime_core.training.start import train

ENDLESS = 10**7
"""Steps of a training that is to be ended."""
_WARM_UP = 25
"""Steps before those that count, the captured step's among them."""


class _MeasuredError(Exception):
    """Ends a training whose rate is known."""


def passed() -> float:
    """The time in seconds when all work of the device is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def steps_a_second(
    stage: Stage, seconds: float, config: str | None = None, *, now: Callable[[], float] = passed, **how: Any
) -> float:
    """The rate of a training that would go on for longer.

    Args:
        stage: whose steps are counted.
        seconds: for how long, after the first ones.
        now: the clock; `time.process_time` counts the processor's seconds, which other jobs change less.
        config, how: what is trained, as in `train`.
    """
    clock = _Clock(stage, seconds, now)
    try:
        train(config, stage=stage, on_progress=clock, **how)
    except _MeasuredError:
        return clock.rate
    raise RuntimeError(f"stage {stage} ended before its rate was known")


class _Clock:
    """Counts the steps of a stage, called after each of them, until enough time has passed."""

    def __init__(self, stage: str, seconds: float, now: Callable[[], float]) -> None:
        self.stage, self.seconds, self.now = stage, seconds, now
        self.began: tuple[int, float] | None = None
        self.rate = self.since = 0.0

    def __call__(self, progress: Progress) -> None:
        if progress.stage != self.stage or progress.activity or progress.step < _WARM_UP:
            return
        if self.began is None:
            self.began, self.since = (progress.step, self.now()), time.perf_counter()
        elif time.perf_counter() - self.since > self.seconds:
            self.rate = (progress.step - self.began[0]) / (self.now() - self.began[1])
            raise _MeasuredError
