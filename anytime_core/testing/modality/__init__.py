"""The contract of modality plugins: its checks, and how to run them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from anytime_core.modality import Modality
from anytime_core.testing.modality import data, description, files, manners, measures, networks, offers, value_networks
from anytime_core.testing.modality.subject import Subject, check
from anytime_core.testing.runner import Check, CheckResult, ContractTests, bind, run_checks

CHECKS = check.of(description, data, networks, measures, files, offers, value_networks, manners)
"""Checks by name, in an order in which a new modality would meet them."""


def iter_checks(modality: type[Modality], config: Mapping[str, Any] | None = None) -> Iterator[Check]:
    """The checks of a modality. They are independent, and may run in any order.

    Args:
        modality: the class that the entry point names.
        config: values of its sections, such as `{"data": {"root": ...}}`; defaults for what is left out.
    """
    return bind(CHECKS, check, Subject(modality, dict(config or {})))


def check_modality(
    modality: type[Modality],
    config: Mapping[str, Any] | None = None,
    *,
    expected_failures: Mapping[str, str] | None = None,
    only: Sequence[str] = (),
    on_result: Callable[[CheckResult], None] = lambda result: None,
) -> list[CheckResult]:
    """Run all checks, even if some fail.

    Args:
        modality, config: see `iter_checks`.
        expected_failures, only, on_result: see `run_checks`.

    Raises:
        UsageError: a name is not the name of a check.
    """
    checks = iter_checks(modality, config)
    return run_checks(checks, expected_failures=expected_failures, only=only, on_result=on_result)


class ModalityContract(ContractTests):
    """Base of a pytest class that runs every check as a test.

    Attributes:
        modality: the class that the entry point names.
        config: values of its sections; defaults for what is left out.
        expected_failures: name of a check -> why the modality fails it.
    """

    modality: ClassVar[Any]
    config: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def checks(cls) -> Iterable[Check]:
        """The checks of the modality."""
        return iter_checks(cls.modality, cls.config)
