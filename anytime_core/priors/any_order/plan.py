"""Plans: how many codes each network call of an order-agnostic prior draws.

Drawing k codes in one call when t codes are known costs k L_t nats, instead of L_t + ... + L_{t+k-1} nats one after
another. Dynamic programming finds the best plan for a number of calls (Hoogeboom et al. 2022, section 3; Watson et al.,
"Learning to Efficiently Sample from Diffusion Probabilistic Models", 2021).

n is the number of codes, M the number of calls, S the number of stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anytime_core.errors import UsageError

SPACINGS = ("optimal", "linear")


@dataclass(frozen=True)
class Plan:
    """The sizes of the groups that are drawn together, for each stage. In each stage they add up to n."""

    stages: tuple[tuple[int, ...], ...]

    @property
    def calls(self) -> int:
        """M."""
        return sum(len(sizes) for sizes in self.stages)

    def cost(self, losses: ArrayLike) -> float:
        """The cost of this plan in nats; `losses` [S, n] are the nats of one more digit when t are known."""
        rows = np.asarray(losses, dtype=np.float64)
        return sum(
            size * row[start]
            for sizes, row in zip(self.stages, rows, strict=True)
            for size, start in zip(sizes, np.cumsum((0, *sizes[:-1])), strict=True)
        )


def make_plan(losses: ArrayLike, calls: int | None, spacing: str = "optimal") -> Plan:
    """The plan of `calls` network calls.

    Args:
        losses: [S, n], nats of one more digit in each stage when t of n are known; they are first sorted in decreasing
            order.
        calls: M, S <= M <= S n; None: one for each digit.
        spacing: `optimal`, or `linear`: groups of nearly equal size.

    Raises:
        UsageError: `calls` is out of range, or there is no such spacing.
    """
    rows = -np.sort(-np.asarray(losses, dtype=np.float64), axis=1)
    stages, length = rows.shape
    if spacing not in SPACINGS:
        raise UsageError(f"no spacing '{spacing}': use {', '.join(SPACINGS)}")
    if calls is None:
        return Plan(((1,) * length,) * stages)
    if not stages <= calls <= stages * length:
        each = f"{length} codes" if stages == 1 else f"{length} codes of {stages} digits"
        raise UsageError(f"{calls} calls cannot draw {each}: use {stages} to {stages * length} calls")
    if spacing == "linear":
        shares = [calls // stages + (stage < calls % stages) for stage in range(stages)]
        return Plan(tuple(_even(length, share) for share in shares))
    most = min(length, calls - stages + 1)
    tables = [_Table(row, most) for row in rows]
    return Plan(tuple(table.sizes(share) for table, share in zip(tables, _shares(tables, calls), strict=True)))


def schedule(losses: ArrayLike, calls: int) -> tuple[int, ...]:
    """The sizes of the groups that draw n codes by `calls` network calls at the least cost.

    It is exact: C[b, t] = min over s < t of C[b - 1, s] + (t - s) L_s. As L is non-increasing, the cost of a group
    obeys the quadrangle inequality. So the best s grows with t, and divide and conquer finds each row of C, in
    O(M n log n) altogether.

    Args:
        losses: [n], nats of one more code when t of n are known; they are first sorted in decreasing order.
        calls: M, 1 <= M <= n.
    """
    return make_plan(np.atleast_2d(np.asarray(losses)), calls).stages[0]


class _Table:
    """The costs of drawing n codes by 1, 2, ..., `most` calls, and the plans for them.

    Args:
        losses: [n], non-increasing.
        most: the most calls.
    """

    def __init__(self, losses: NDArray[np.float64], most: int) -> None:
        length = len(losses)
        self.starts = np.zeros((most, length + 1), dtype=np.int32)
        self.costs = np.full(most, np.inf)
        row = np.arange(length + 1) * losses[0]
        self.costs[0] = row[-1]
        for call in range(1, most):
            row, self.starts[call] = _next_row(row, losses, fewest=call)
            self.costs[call] = row[-1]

    def sizes(self, calls: int) -> tuple[int, ...]:
        """The sizes of the groups of the best plan."""
        ends = [self.starts.shape[1] - 1]
        for call in range(calls - 1, 0, -1):
            ends.append(int(self.starts[call, ends[-1]]))
        return tuple(end - start for start, end in pairwise([0, *reversed(ends)]))


def _next_row(
    row: NDArray[np.float64], losses: NDArray[np.float64], fewest: int
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """The costs of t = 0..n codes by one more call, and where the last call of each starts.

    Args:
        row: the costs by `fewest` calls, finite for t >= `fewest`.
        losses: [n].
        fewest: the number of calls of `row`.
    """
    costs, starts = np.full_like(row, np.inf), np.zeros(len(row), dtype=np.int32)
    # Intervals of t that are left, and the range of their best starts; all intervals of a level at once.
    first, last = np.array([fewest + 1]), np.array([len(row) - 1])
    lowest, highest = np.array([fewest]), np.array([len(losses) - 1])
    while len(first):
        middle = (first + last) // 2
        until = np.minimum(highest, middle - 1)
        widths = until - lowest + 1
        offsets = np.cumsum(widths) - widths
        which = np.repeat(np.arange(len(widths)), widths)
        start = np.arange(widths.sum()) - offsets[which] + lowest[which]
        cost = row[start] + (middle[which] - start) * losses[start]
        best = np.minimum.reduceat(cost, offsets)
        found = np.minimum.reduceat(np.where(cost == best[which], start, len(row)), offsets)
        costs[middle], starts[middle] = best, found
        first, last = np.concatenate([first, middle + 1]), np.concatenate([middle - 1, last])
        lowest, highest = np.concatenate([lowest, found]), np.concatenate([found, highest])
        going = first <= last
        first, last, lowest, highest = first[going], last[going], lowest[going], highest[going]
    return costs, starts


def _shares(tables: Sequence[_Table], calls: int) -> list[int]:
    """How many calls each stage gets: at least one, and each further call goes to the stage where it saves most.

    Costs are convex in the number of calls, so taking the largest saving each time is exact.
    """
    shares = [1] * len(tables)
    savings = [-np.diff(table.costs) for table in tables]
    for _ in range(calls - len(tables)):
        best = max(
            (stage for stage, share in enumerate(shares) if share <= len(savings[stage])),
            key=lambda stage: savings[stage][shares[stage] - 1],
        )
        shares[best] += 1
    return shares


def _even(length: int, calls: int) -> tuple[int, ...]:
    ends = [round(length * call / calls) for call in range(calls + 1)]
    return tuple(end - start for start, end in pairwise(ends))
