"""What the contract of modality plugins demands, check by check, and running it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from anytime_core.modality import Modality
from anytime_core.testing.modality import data, description, files, manners, measures, networks, offers
from anytime_core.testing.modality.subject import Subject, check
from anytime_core.testing.runner import Check, CheckResult, ContractTests, bind, run_checks

CHECKS = check.of(description, data, networks, measures, files, offers, manners)
"""Checks by name, in the order in which one meets what they are about."""


def iter_checks(modality: type[Modality], config: Mapping[str, Any] | None = None) -> Iterator[Check]:
    """The checks of a modality, each to be run by itself and in any order.

    Args:
        modality: the class that the entry point names.
        config: of its sections, such as `{"data": {"root": ...}}`; defaults where left out.
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
    """Run all checks; none keeps another from being run.

    Args:
        modality, config: see `iter_checks`.
        expected_failures, only, on_result: see `run_checks`.

    Raises:
        UsageError: a check is named that there is not.
    """
    checks = iter_checks(modality, config)
    return run_checks(checks, expected_failures=expected_failures, only=only, on_result=on_result)


class ModalityContract(ContractTests):
    """Base of a pytest class that runs every check as a test.

    Attributes:
        modality: the class that the entry point names.
        config: of its sections; defaults where left out.
        expected_failures: name of a check -> why the modality fails it.
    """

    modality: ClassVar[Any]
    config: ClassVar[Mapping[str, Any]] = {}

    @classmethod
    def checks(cls) -> Iterable[Check]:
        """The checks of the modality."""
        return iter_checks(cls.modality, cls.config)
