"""Running the checks of a contract: one by one, all at once, or as a pytest class."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import torch

from anytime_core.errors import UsageError, nearest
from anytime_core.testing.checks import Checks, Declared

S = TypeVar("S")
Outcome = Literal["passed", "failed", "expected failure", "unexpected pass", "skipped"]


class CheckSkipped(Exception):  # noqa: N818
    """A check does not apply to this subject; the message says why."""


@dataclass(frozen=True)
class Check:
    """One demand of a contract on one subject.

    Attributes:
        name: its name, such as `encoder-and-decoder-agree`.
        description: what it demands, in one line.
        needs: the capabilities without which it is skipped.
        run: runs the check. It raises an exception that says what is wrong if the subject fails, and `CheckSkipped` if
            the subject lacks what the check needs.
    """

    name: str
    description: str
    needs: tuple[str, ...]
    run: Callable[[], None]


@dataclass(frozen=True)
class CheckResult:
    """The result of a check.

    Attributes:
        name: name of the check.
        outcome: passed, failed, failed as expected, passed though a failure was expected, or skipped.
        message: what was wrong, or why it was skipped; empty if it passed.
    """

    name: str
    outcome: Outcome
    message: str = ""

    @property
    def good(self) -> bool:
        """Whether the subject keeps this part of the contract."""
        return self.outcome in ("passed", "expected failure", "skipped")


def bind(declared: Mapping[str, Declared[S]], checks: Checks[S], subject: S) -> Iterator[Check]:
    """The checks of a subject. They are independent, and may run in any order."""
    for name, one in declared.items():
        yield Check(name, one.description, one.needs, partial(_run, one, checks, subject))


def run_checks(
    checks: Iterable[Check],
    *,
    expected_failures: Mapping[str, str] | None = None,
    only: Sequence[str] = (),
    on_result: Callable[[CheckResult], None] = lambda result: None,
) -> list[CheckResult]:
    """Run checks. All of them run, even if some fail.

    Args:
        checks: the checks of one subject.
        expected_failures: name of a check -> why the subject fails it.
        only: names of checks to run; empty: all of them.
        on_result: called after each check.

    Raises:
        UsageError: a name is not the name of a check.
    """
    checks, expected = list(checks), dict(expected_failures or {})
    _know([*expected, *only], checks)
    results = []
    for check in checks:
        if not only or check.name in only:
            results.append(_result(check, expected.get(check.name)))
            on_result(results[-1])
    return results


class ContractTests(ABC):
    """Base of pytest classes that run every check of a contract as a test of its own.

    Attributes:
        expected_failures: name of a check -> why the subject fails it.
    """

    expected_failures: ClassVar[Mapping[str, str]] = {}

    @classmethod
    @abstractmethod
    def checks(cls) -> Iterable[Check]:
        """The checks of the subject."""

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Make one test for each check."""
        if "contract_check" not in metafunc.fixturenames:
            return
        import pytest

        checks = list(self.checks())
        _know(self.expected_failures, checks)
        parameters = []
        for check in checks:
            reason = self.expected_failures.get(check.name)
            marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason is not None else []
            parameters.append(pytest.param(check, id=check.name, marks=marks))
        metafunc.parametrize("contract_check", parameters)

    def test_contract(self, contract_check: Check) -> None:
        """Run one check of the contract on the subject."""
        import pytest

        try:
            contract_check.run()
        except CheckSkipped as skipped:
            pytest.skip(str(skipped))


def _run(declared: Declared[S], checks: Checks[S], subject: S) -> None:
    """Run a check in an empty folder and from a fixed seed; the global generator is restored afterwards."""
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        missing = checks.missing(declared, subject)
        if missing:
            raise CheckSkipped(missing)
        declared.function(subject, Path(folder))


def _result(check: Check, expected: str | None) -> CheckResult:
    """The result of a check that is `expected` to fail for this reason; None: to pass."""
    try:
        check.run()
    except CheckSkipped as skipped:
        return CheckResult(check.name, "skipped", str(skipped))
    except Exception as error:
        if expected is not None:
            return CheckResult(check.name, "expected failure", expected)
        message = f"{error}" if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        return CheckResult(check.name, "failed", message)
    if expected is not None:
        return CheckResult(check.name, "unexpected pass", expected)
    return CheckResult(check.name, "passed")


def _know(names: Iterable[str], checks: Sequence[Check]) -> None:
    known = [check.name for check in checks]
    for name in names:
        if name not in known:
            raise UsageError(f"no check '{name}'{nearest(name, known)}: the checks are {', '.join(known)}")
