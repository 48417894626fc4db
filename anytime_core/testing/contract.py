"""Running the checks of `anytime_core.testing.checks`: one by one, all at once, or as a pytest class."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from anytime_core.errors import UsageError, nearest
from anytime_core.modality import Modality
from anytime_core.testing.checks import CHECKS, Subject

Outcome = Literal["passed", "failed", "expected failure", "unexpected pass"]


@dataclass(frozen=True)
class Check:
    """One demand of the contract.

    Attributes:
        name: such as `encoder-and-decoder-agree`.
        description: what it demands, in a line.
        run: raises an exception that says what is wrong where the modality fails it.
    """

    name: str
    description: str
    run: Callable[[], None]


@dataclass(frozen=True)
class CheckResult:
    """What came of a check.

    Attributes:
        name: of the check.
        outcome: passed, failed, failed as expected, or passed though a failure was expected.
        message: what was wrong, empty where it passed.
    """

    name: str
    outcome: Outcome
    message: str = ""

    @property
    def good(self) -> bool:
        """Whether the contract holds as far as this check is concerned."""
        return self.outcome in ("passed", "expected failure")


def iter_checks(modality: type[Modality], config: Mapping[str, Any] | None = None) -> Iterator[Check]:
    """The checks of a modality, each to be run by itself and in any order.

    Args:
        modality: the class that the entry point names.
        config: of its sections, such as `{"data": {"root": ...}}`; defaults where left out.
    """
    subject = Subject(modality, dict(config or {}))
    for name, check in CHECKS.items():
        yield Check(name, (check.__doc__ or "").partition("\n")[0], functools.partial(_run, check, subject))


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
        expected_failures: name of a check -> why the modality fails it.
        only: names of checks to run; empty: all of them.
        on_result: called after each check.

    Raises:
        UsageError: a check is named that there is not.
    """
    expected = dict(expected_failures or {})
    _know([*expected, *only])
    results = []
    for check in iter_checks(modality, config):
        if only and check.name not in only:
            continue
        message = None
        try:
            check.run()
        except Exception as error:
            message = f"{error}" if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
        outcome: Outcome = "passed" if message is None else "failed"
        if check.name in expected:
            outcome = "unexpected pass" if message is None else "expected failure"
            message = expected[check.name]
        results.append(CheckResult(check.name, outcome, message or ""))
        on_result(results[-1])
    return results


class ModalityContract:
    """Base of a pytest class that runs every check as a test.

    Attributes:
        modality: the class that the entry point names.
        config: of its sections; defaults where left out.
        expected_failures: name of a check -> why the modality fails it.
    """

    modality: ClassVar[Any]
    config: ClassVar[Mapping[str, Any]] = {}
    expected_failures: ClassVar[Mapping[str, str]] = {}

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """One test for each check."""
        if "contract_check" not in metafunc.fixturenames:
            return
        import pytest

        _know(self.expected_failures)
        checks = iter_checks(self.modality, self.config)
        parameters = []
        for check in checks:
            reason = self.expected_failures.get(check.name)
            marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason is not None else []
            parameters.append(pytest.param(check, id=check.name, marks=marks))
        metafunc.parametrize("contract_check", parameters)

    def test_contract(self, contract_check: Check) -> None:
        """The modality keeps this demand of the contract."""
        contract_check.run()


def _run(check: Callable[[Subject, Path], None], subject: Subject) -> None:
    """A check in an empty folder, with everything as it was afterwards."""
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]), _deterministic():
        check(subject, Path(folder))


@contextlib.contextmanager
def _deterministic() -> Iterator[None]:
    torch.manual_seed(0)
    yield


def _know(names: Iterable[str]) -> None:
    for name in names:
        if name not in CHECKS:
            raise UsageError(f"no check '{name}'{nearest(name, CHECKS)}: the checks are {', '.join(CHECKS)}")
