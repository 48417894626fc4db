"""The options of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field

from anytime_core.budget import Budget
from anytime_core.errors import UsageError
from anytime_core.evaluation.extractors import ExtractorRequest
from anytime_core.sampling.options import SamplingOptions

TENTHS = tuple(Budget(tenth / 10) for tenth in range(1, 11))


@dataclass(frozen=True)
class EvaluationOptions:
    """How runs are evaluated.

    Attributes:
        budgets: shares or numbers of codes.
        num: how many new samples; they are the same at each budget.
        extractors: sets of samples are compared by their features; empty: all that need nothing else.
        download: whether extractors may download their weights.
        calls: budgets of network calls for runs with an order-agnostic prior, each of which gives an evaluation of its
            own; None stands for one call a code.
        sampling: how new samples are drawn; its seed is also used for the classifier, and its plan only matters to
            order-agnostic priors.
    """

    budgets: tuple[Budget, ...] = TENTHS
    num: int = 2000
    extractors: tuple[ExtractorRequest, ...] = field(default=())
    download: bool = False
    calls: tuple[int | None, ...] = (None, 10)
    sampling: SamplingOptions = field(default_factory=SamplingOptions)

    def __post_init__(self) -> None:
        if not self.budgets:
            raise UsageError("no budgets to evaluate: name at least one, such as 0.5")
        if self.num < 2:
            raise UsageError(f"number of samples {self.num} is not at least 2")
        if not self.calls or any(calls is not None and calls < 1 for calls in self.calls):
            raise UsageError(f"calls {self.calls} are not numbers of at least 1")
