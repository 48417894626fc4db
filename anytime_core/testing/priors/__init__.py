"""The contract of priors: its checks, and how to run them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from anytime_core.priors.base import Prior
from anytime_core.quantizers.base import CodeSpec
from anytime_core.testing.priors import any_order, causal, description, engines, labels, learning
from anytime_core.testing.priors.subject import Subject, check
from anytime_core.testing.runner import Check, CheckResult, ContractTests, bind, run_checks

CHECKS = check.of(description, learning, labels, causal, engines, any_order)
"""Checks by name, in an order in which a new prior would meet them."""


def iter_prior_checks(
    prior: type[Prior], config: Mapping[str, Any] | None = None, spec: CodeSpec | None = None
) -> Iterator[Check]:
    """The checks of a prior. They are independent, and may run in any order.

    Args:
        prior: the class that the entry point names.
        config: values of its section, such as `{"width": 32}`; defaults for what is left out.
        spec: a few codes of few values that it can model, without labels; None: the first that its section accepts of
            a line of channels, a map of positions, and the pixels of a picture.
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
    """Run all checks, even if some fail.

    Args:
        prior, config, spec: see `iter_prior_checks`.
        expected_failures, only, on_result: see `run_checks`.

    Raises:
        UsageError: a name is not the name of a check.
    """
    checks = iter_prior_checks(prior, config, spec)
    return run_checks(checks, expected_failures=expected_failures, only=only, on_result=on_result)


class PriorContract(ContractTests):
    """Base of a pytest class that runs every check as a test.

    Attributes:
        prior: the class that the entry point names.
        config: values of its section; defaults for what is left out.
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
