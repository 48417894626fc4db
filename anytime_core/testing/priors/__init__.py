"""What the contract of priors demands, check by check, and running it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from anytime_core.priors.base import Prior
from anytime_core.quantizers.base import CodeSpec
from anytime_core.testing.priors import any_order, causal, description, engines, labels, learning
from anytime_core.testing.priors.subject import Subject, check
from anytime_core.testing.runner import Check, CheckResult, ContractTests, bind, run_checks

CHECKS = check.of(description, learning, labels, causal, engines, any_order)
"""Checks by name, in the order in which one meets what they are about."""


def iter_prior_checks(
    prior: type[Prior], config: Mapping[str, Any] | None = None, spec: CodeSpec | None = None
) -> Iterator[Check]:
    """The checks of a prior, each to be run by itself and in any order.

    Args:
        prior: the class that the entry point names.
        config: of its section, such as `{"width": 32}`; defaults for what is left out.
        spec: codes that it can model, without labels, few of few values; None: what its section accepts of a line of
            channels, a map of positions and the pixels of a picture.
    """
    return bind(CHECKS, check, Subject(prior, dict(config or {}), spec))


def check_prior(
    prior: type[Prior],
    config: Mapping[str, Any] | None = None,
    spec: CodeSpec | None = None,
    *,
    expected_failures: Mapping[str, str] | None = None,
    only: Sequence[str] = (),
    on_result: Callable[[CheckResult], None] = lambda result: None,
) -> list[CheckResult]:
    """Run all checks; none keeps another from being run.

    Args:
        prior, config, spec: see `iter_prior_checks`.
        expected_failures, only, on_result: see `run_checks`.

    Raises:
        UsageError: a check is named that there is not.
    """
    checks = iter_prior_checks(prior, config, spec)
    return run_checks(checks, expected_failures=expected_failures, only=only, on_result=on_result)


class PriorContract(ContractTests):
    """Base of a pytest class that runs every check as a test.

    Attributes:
        prior: the class that the entry point names.
        config: of its section; defaults for what is left out.
        spec: codes that it can model, see `iter_prior_checks`.
        expected_failures: name of a check -> why the prior fails it.
    """

    prior: ClassVar[Any]
    config: ClassVar[Mapping[str, Any]] = {}
    spec: ClassVar[CodeSpec | None] = None

    @classmethod
    def checks(cls) -> Iterable[Check]:
        """The checks of the prior."""
        return iter_prior_checks(cls.prior, cls.config, cls.spec)
