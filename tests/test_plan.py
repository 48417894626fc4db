"""Plans: exact for every number of calls, whatever the losses, and fast for long ones."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anytime_core.errors import UsageError
from anytime_core.priors.any_order.plan import Plan, make_plan, schedule

curves = st.lists(
    st.one_of(st.floats(0, 10), st.integers(0, 3).map(float)),  # the latter for many equal ones
    min_size=1,
    max_size=24,
).map(lambda losses: np.array(sorted(losses, reverse=True)))


def plain_costs(losses: np.ndarray) -> np.ndarray:
    """C[b, n] for b = 1..n by the recursion as it is published, O(n^3)."""
    length = len(losses)
    costs = np.full((length + 1, length + 1), np.inf)
    costs[0, 0] = 0
    for calls, end in itertools.product(range(1, length + 1), range(1, length + 1)):
        costs[calls, end] = min(costs[calls - 1, start] + (end - start) * losses[start] for start in range(end))
    return costs[1:, length]


@given(losses=curves)
@settings(max_examples=150, deadline=None)
def test_a_schedule_costs_what_the_plain_recursion_finds(losses):
    for calls, cost in enumerate(plain_costs(losses), start=1):
        sizes = schedule(losses, calls)
        assert len(sizes) == calls
        assert sum(sizes) == len(losses)
        assert min(sizes) >= 1
        assert Plan((sizes,)).cost(losses[None]) == pytest.approx(cost, abs=1e-9)


@given(losses=curves.filter(lambda losses: len(losses) <= 12), data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_other_schedule_costs_less(losses, data):
    calls = data.draw(st.integers(1, len(losses)))
    cuts = itertools.combinations(range(1, len(losses)), calls - 1)
    ends = [np.array([*cut, len(losses)]) for cut in cuts]
    best = min(Plan((tuple(np.diff(end, prepend=0).tolist()),)).cost(losses[None]) for end in ends)
    assert Plan((schedule(losses, calls),)).cost(losses[None]) == pytest.approx(best, abs=1e-9)


@given(data=st.data(), stages=st.integers(1, 3), length=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_stages_share_the_calls_in_the_best_way(data, stages, length):
    losses = np.array(
        [
            sorted(data.draw(st.lists(st.floats(0, 5), min_size=length, max_size=length)), reverse=True)
            for _ in range(stages)
        ]
    )
    costs = [plain_costs(row) for row in losses]
    for calls in range(stages, stages * length + 1):
        shares = [each for each in itertools.product(range(1, length + 1), repeat=stages) if sum(each) == calls]
        best = min(sum(row[share - 1] for row, share in zip(costs, each, strict=True)) for each in shares)
        plan = make_plan(losses, calls)
        assert plan.calls == calls
        assert plan.cost(losses) == pytest.approx(best, abs=1e-9)


def test_losses_are_sorted_before_a_plan_is_made():
    losses = np.array([[1.0, 3.0, 2.0, 0.5]])
    assert make_plan(losses, 2) == make_plan(-np.sort(-losses), 2)


def test_extremes_are_one_shot_and_one_by_one():
    losses = np.linspace(2, 0, 7)[None]
    assert make_plan(losses, 1).stages == ((7,),)
    assert make_plan(losses, 7).stages == make_plan(losses, None).stages == ((1,) * 7,)


@given(length=st.integers(1, 60), data=st.data())
@settings(max_examples=60, deadline=None)
def test_linear_groups_have_one_size_as_far_as_they_go(length, data):
    calls = data.draw(st.integers(1, length))
    (sizes,) = make_plan(np.ones((1, length)), calls, "linear").stages
    assert len(sizes) == calls
    assert sum(sizes) == length
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("calls", "message"), [(0, "0 calls"), (9, "use 1 to 8 calls"), (-3, "-3 calls")])
def test_impossible_numbers_of_calls_are_refused(calls, message):
    with pytest.raises(UsageError, match=message):
        make_plan(np.ones((1, 8)), calls)


def test_digits_need_a_call_each():
    with pytest.raises(UsageError, match="8 codes of 3 digits: use 3 to 24 calls"):
        make_plan(np.ones((3, 8)), 2)
    with pytest.raises(UsageError, match="no spacing 'cosine'"):
        make_plan(np.ones((1, 8)), 2, "cosine")


def test_work_grows_as_n_log_n_and_memory_with_the_table(monkeypatch):
    """Counted, not timed: how many candidates are looked at for twice the length."""
    looked_at = []
    repeat = np.repeat
    monkeypatch.setattr(np, "repeat", lambda *arguments: looked_at.append(len(result := repeat(*arguments))) or result)
    totals = []
    for length in (500, 1000, 2000):
        looked_at.clear()
        schedule(np.sort(np.random.default_rng(0).random(length))[::-1], 20)
        totals.append(sum(looked_at))
    assert totals[1] < 2.4 * totals[0]
    assert totals[2] < 2.4 * totals[1]
    assert totals[2] <= 20 * 2 * 2000 * 12
