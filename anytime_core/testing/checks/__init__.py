"""What the contract of modality plugins demands, check by check.

Each check is `(subject, empty folder) -> None` and raises AssertionError, whose message says what is wrong, where the
modality fails it.
"""

from __future__ import annotations

from anytime_core.testing.checks import data, description, files, manners, measures, networks
from anytime_core.testing.checks.subject import DECLARED, Function, Subject

CHECKS: dict[str, Function] = {
    name: function
    for room in (description, data, networks, measures, files, manners)
    for name, function in DECLARED.items()
    if function.__module__ == room.__name__
}
"""Checks by name, in the order in which one meets what they are about."""

__all__ = ["CHECKS", "Subject"]
