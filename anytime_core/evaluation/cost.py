"""What a budget costs: time, codes a second, memory."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

import torch

from anytime_core.run import Run
from anytime_core.sampling.budget import Budget
from anytime_core.sampling.draw import Filter
from anytime_core.sampling.sampler import SamplingOptions

_BATCH = 64
_REPEATS = 3
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
"""Of Linux: the most memory that this process held, and how to forget it."""


@dataclass(frozen=True)
class Cost:
    """Of one batch of 64 samples, the median of three, after one that does not count.

    Attributes:
        seconds_per_sample: of drawing and decoding.
        codes_per_second: drawn.
        peak_memory: bytes that the process held at most, weights included; None where the system does not tell.
    """

    seconds_per_sample: float
    codes_per_second: float
    peak_memory: int | None


def sampling_cost(run: Run, codes: int, calls: int | None, filtering: Filter) -> Cost:
    """The cost of samples of `codes` codes, drawn by `calls` network calls where the prior is order-agnostic."""
    options = SamplingOptions(filtering=filtering, batch_size=_BATCH, calls=calls)

    def sample() -> dict[str, float]:
        parts = list(run.sample_batches(range(_BATCH), Budget(codes, "codes"), options))  # one, if memory allows it
        return {name: sum(part.seconds[name] for part in parts) for name in parts[0].seconds}

    sample()
    measurable = _forget_peak(run.device)
    seconds = [sample() for _ in range(_REPEATS)]
    drawing = statistics.median(one["codes"] for one in seconds)
    whole = statistics.median(sum(one.values()) for one in seconds)
    return Cost(whole / _BATCH, codes * _BATCH / max(drawing, 1e-9), _peak(run.device) if measurable else None)


def _forget_peak(device: torch.device) -> bool:
    """Begin to measure memory; false where the system cannot."""
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
