"""Errors that a user can mend: each message names the offending value and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AnytimeError(Exception):
    """Something failed for a reason the user can act on. The command line prints it and exits with `exit_status`."""

    exit_status = 1


class UsageError(AnytimeError):
    """A wrong option, name or value: nothing was attempted."""

    exit_status = 2


class ConfigError(UsageError):
    """A configuration with one or more mistakes; the message lists all of them."""


class DataError(AnytimeError):
    """Data that is missing, empty or unreadable."""


class RunError(AnytimeError):
    """A run folder that is missing, unfinished, damaged or too new."""


class InterruptedTrainingError(AnytimeError):
    """Ctrl-C or SIGTERM came; what was trained is in a checkpoint. Exits with 130 or 143, as shells expect."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.exit_status = 128 + signal


class PluginError(AnytimeError):
    """A modality plugin that is missing or does not work."""


def nearest(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the known name closest to `name`, or nothing where none is close."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{matches[0]}'?)" if matches else ""
