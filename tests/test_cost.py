"""What a budget costs, of a run whose batches take as long as they are told to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from anytime_core.evaluation.cost import sampling_cost
from anytime_core.sampling.options import SamplingOptions


@dataclass
class TimedRun:
    """Batches that take the given seconds, the last ones over and over: all for codes but for a tenth to decode."""

    takes: list[float]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    options: list[Any] = field(default_factory=list)

    def sample_batches(self, indices: range, budget: Any, options: Any) -> Iterator[SimpleNamespace]:
        assert len(indices) == options.batch_size == 64
        self.options.append(options)
        seconds = self.takes.pop(0) if len(self.takes) > 1 else self.takes[0]
        yield SimpleNamespace(seconds={"codes": 0.9 * seconds, "decode": 0.1 * seconds})


@pytest.mark.parametrize(
    ("takes", "cost", "batches"),
    [
        ([0.064], 0.064, 2 + 5),
        ([0.0064], 0.0064, 2 + 25),  # short ones are measured more often
        ([5.0, 0.5, 0.064], 0.064, 4 + 5),  # compiling and finding out do not count
        ([0.064, 0.064, 0.064, 3.2, 3.2, 0.064], 0.064, 2 + 5),  # nor do moments of a busy machine
        ([3.0, 3.0, 3.0, 3.0], 3.0, 2 + 2),  # of a slow model few batches are enough
        ([30.0], 30.0, 1 + 1),
    ],
)
def test_the_cost_is_the_median_of_warmed_batches_within_a_bounded_time(takes, cost, batches):
    run = TimedRun(takes)
    measured = sampling_cost(run, 16, SamplingOptions())
    assert measured.seconds_per_sample == pytest.approx(cost / 64)
    assert measured.codes_per_second == pytest.approx(16 * 64 / (0.9 * cost))
    assert len(run.options) == batches


def test_the_cost_of_an_order_agnostic_prior_is_that_of_its_calls():
    run = TimedRun([0.064])
    assert sampling_cost(run, 16, SamplingOptions(calls=4)).seconds_per_sample == pytest.approx(0.001)
    assert {options.calls for options in run.options} == {4}
