"""Declaring the checks of a contract, and what a subject needs for a check to apply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar

S = TypeVar("S")
Function = Callable[[S, Path], None]
"""A check of a subject, in an empty folder. It raises AssertionError with a message that says what is wrong."""


@dataclass(frozen=True)
class Capability(Generic[S]):
    """Something that a subject of a contract may offer but need not.

    Attributes:
        has: whether a subject offers it.
        missing: the message if it does not, such as "its data sets have no batch(indices)".
    """

    has: Callable[[S], bool]
    missing: str


@dataclass(frozen=True)
class Declared(Generic[S]):
    """A check that is declared.

    Attributes:
        function: the check itself.
        needs: names of the capabilities without which it is skipped.
    """

    function: Function[S]
    needs: tuple[str, ...]

    @property
    def description(self) -> str:
        """What it demands: the first line of its docstring."""
        return (self.function.__doc__ or "").partition("\n")[0]


class Checks(Generic[S]):
    """The checks of one contract. An object of this class is the decorator that declares them.

    Args:
        capabilities: by name, everything that a check may need.
    """

    def __init__(self, capabilities: Mapping[str, Capability[S]]) -> None:
        self.capabilities = dict(capabilities)
        self._declared: dict[str, Declared[S]] = {}

    def __call__(self, *needs: str) -> Callable[[Function[S]], Function[S]]:
        """Declare a check, named like its function with hyphens. It is skipped if one of `needs` is missing."""
        unknown = sorted(set(needs) - set(self.capabilities))
        if unknown:
            raise ValueError(f"no capability {', '.join(unknown)}: there are {', '.join(self.capabilities)}")

        def declare(function: Function[S]) -> Function[S]:
            self._declared[function.__name__.replace("_", "-")] = Declared(function, needs)
            return function

        return declare

    def of(self, *rooms: ModuleType) -> dict[str, Declared[S]]:
        """The checks that these modules declare, by name, in the order of their declaration."""
        return {
            name: declared
            for room in rooms
            for name, declared in self._declared.items()
            if declared.function.__module__ == room.__name__
        }

    def missing(self, declared: Declared[S], subject: S) -> str:
        """Why a check does not apply to this subject; empty if it does."""
        lacking = (self.capabilities[need] for need in declared.needs)
        return next((capability.missing for capability in lacking if not capability.has(subject)), "")
