"""The contract of quantizers: its checks, and how to run them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from anytime_core.quantizers.base import Quantizer
from anytime_core.quantizers.config import QuantizerSection
from anytime_core.testing.quantizers import codes, description, learning
from anytime_core.testing.quantizers.subject import Subject, check
from anytime_core.testing.runner import Check, CheckResult, ContractTests, bind, run_checks

CHECKS = check.of(description, codes, learning)
"""Checks by name, in an order in which a new quantizer would meet them."""


def iter_quantizer_checks(
    quantizer: type[Quantizer], section: type[QuantizerSection], config: Mapping[str, Any] | None = None
) -> Iterator[Check]:
    """The checks of a quantizer. They are independent, and may run in any order.

    Args:
        quantizer: the class.
        section: the class of its config section.
        config: values of the section, such as `{"size": 2}`; defaults for what is left out.
    """
    return bind(CHECKS, check, Subject(quantizer, section, dict(config or {})))


def check_quantizer(
    quantizer: type[Quantizer],
    section: type[QuantizerSection],
    config: Mapping[str, Any] | None = None,
    *,
    expected_failures: Mapping[str, str] | None = None,
    only: Sequence[str] = (),
    on_result: Callable[[CheckResult], None] = lambda result: None,
) -> list[CheckResult]:
    """Run all checks, even if some fail.

    Args:
        quantizer, section, config: see `iter_quantizer_checks`.
        expected_failures, only, on_result: see `run_checks`.

    Raises:
        UsageError: a name is not the name of a check.
    """
    checks = iter_quantizer_checks(quantizer, section, config)
    return run_checks(checks, expected_failures=expected_failures, only=only, on_result=on_result)


class QuantizerContract(ContractTests):
    """Base of a pytest class that runs every check as a test.

    Attributes:
        quantizer: the class.
        section: the class of its config section.
        config: values of the section; defaults for what is left out.
        expected_failures: name of a check -> why the quantizer fails it.
    """

    quantizer: ClassVar[Any]
    section: ClassVar[Any]
    config: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def checks(cls) -> Iterable[Check]:
        """The checks of the quantizer."""
        return iter_quantizer_checks(cls.quantizer, cls.section, cls.config)
