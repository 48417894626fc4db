"""What a budget costs: time, codes a second, memory."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from anytime_core.budget import Budget
from anytime_core.run import Run
from anytime_core.sampling.options import SamplingOptions

_BATCH = 64
_WARM_UPS = 4
"""The most batches for warming up, which do not count."""
_SETTLED = 0.9
"""Share of the time of the batch before: if a batch takes at least this, further ones get no faster."""
_FEWEST, _MOST = 5, 25
_ENOUGH_SECONDS, _LONGEST_SECONDS = 0.25, 10.0
"""Seconds: batches are measured until they took the first together; after the second no further one is begun."""
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
"""Files of Linux: the most memory that this process held, and where to reset it."""


@dataclass(frozen=True)
class Cost:
    """Cost of one batch of 64 samples: the median of several, after some for warming up.

    Attributes:
        seconds_per_sample: of drawing and decoding.
        codes_per_second: codes drawn in a second.
        peak_memory: bytes that the process held at most, weights included; None if the system does not tell.
    """

    seconds_per_sample: float
    codes_per_second: float
    peak_memory: int | None


def sampling_cost(run: Run, codes: int, options: SamplingOptions) -> Cost:
    """The cost of samples of `codes` codes, drawn as `options` say."""
    options = replace(options, batch_size=_BATCH)

    def sample() -> dict[str, float]:
        parts = list(run.sample_batches(range(_BATCH), Budget(codes, "codes"), options))  # one, if memory allows it
        return {name: sum(part.seconds[name] for part in parts) for name in parts[0].seconds}

    warmed = _warm_up(sample)
    measurable = _forget_peak(run.device)
    seconds = _measured(sample, warmed)
    drawing = statistics.median(one["codes"] for one in seconds)
    whole = statistics.median(sum(one.values()) for one in seconds)
    return Cost(whole / _BATCH, codes * _BATCH / max(drawing, 1e-9), _peak(run.device) if measurable else None)


Sample = Callable[[], dict[str, float]]
"""Draws a batch, and returns the seconds that each part of the work took."""


def _warm_up(sample: Sample) -> float:
    """Draw batches until they get no faster: the first ones compile and tune. Returns the seconds that they took."""
    spent, before = 0.0, float("inf")
    for _ in range(_WARM_UPS):
        seconds = sum(sample().values())
        spent += seconds
        if seconds >= _SETTLED * before or spent >= _LONGEST_SECONDS:
            break
        before = seconds
    return spent


def _measured(sample: Sample, spent: float) -> list[dict[str, float]]:
    """The seconds that batches take, of at least one batch; warming up took `spent` seconds."""
    seconds: list[dict[str, float]] = []
    measured = 0.0
    while len(seconds) < _MOST and (len(seconds) < _FEWEST or measured < _ENOUGH_SECONDS):
        seconds.append(sample())
        measured += sum(seconds[-1].values())
        if spent + measured >= _LONGEST_SECONDS:
            break
    return seconds


def _forget_peak(device: torch.device) -> bool:
    """Begin to measure memory; return false if the system cannot."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def _peak(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
