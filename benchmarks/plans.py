"""Planning network calls against the recursion as it is published.

python -m benchmarks.plans [--calls 100] [--json FILE]

The peer is the plain recursion, each row of it one vectorised minimum over all starts; both find plans of equal cost.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from anytime_core.priors.any_order.plan import Plan, schedule
from benchmarks.report import Row, median_seconds, report

_LENGTHS = (1_000, 4_000, 16_000)


def plain_cost(losses: NDArray[np.float64], calls: int) -> float:
    """Least cost of drawing all codes, in O(M n^2)."""
    length = len(losses)
    row = np.arange(length + 1) * losses[0]
    for call in range(1, calls):
        following = np.full(length + 1, np.inf)
        for end in range(call + 1, length + 1):
            starts = np.arange(call, end)
            following[end] = (row[call:end] + (end - starts) * losses[call:end]).min()
        row = following
    return float(row[-1])


def measure(calls: int) -> list[Row]:
    """One row for each number of codes."""
    rows = []
    for length in _LENGTHS:
        losses = np.sort(np.random.default_rng(0).exponential(size=length))[::-1]
        ours, theirs = Plan((schedule(losses, calls),)).cost(losses[None]), plain_cost(losses, calls)
        if abs(ours - theirs) > 1e-6 * theirs:
            raise RuntimeError(f"plans of {length} codes cost {ours}, not {theirs}")
        planned, recursed = median_seconds(
            [partial(schedule, losses, calls), partial(plain_cost, losses, calls)], repeats=1, warmup=0
        )
        rows.append(Row(f"{length} codes", planned, recursed, "plain recursion", recursed / planned, "s"))
    return rows


if __name__ == "__main__":
    report("Plans of network calls", measure, calls=100)
