"""Errors that a user can mend: each message names the offending value and the way out."""

from __future__ import annotations

import difflib
import errno
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


_REASONS = {
    errno.ENOENT: "no such file or folder",
    errno.EISDIR: "it is a folder, where a file is wanted",
    errno.ENOTDIR: "a part of this path is a file, where a folder is wanted",
    errno.EEXIST: "it exists already",
    errno.ENOTEMPTY: "the folder is not empty",
    errno.EACCES: "permission denied: ask its owner, or name another place",
    errno.EPERM: "the system does not permit it: ask its owner, or name another place",
    errno.EROFS: "its disk can only be read: name another place",
    errno.ENOSPC: "no space left on its disk: make room there, or name another place",
    errno.EDQUOT: "your share of its disk is used up: make room there, or name another place",
    errno.EFBIG: "a file cannot be so large on its disk: name another place",
    errno.ENAMETOOLONG: "its name is too long for its disk: choose a shorter one",
    errno.ELOOP: "its links lead in a circle: remove one of them",
    errno.EIO: "its disk reports a fault: try again, or copy it to another disk",
    errno.EMFILE: "too many files are open: raise the limit with ulimit -n",
    errno.ENFILE: "too many files are open in the whole system: end other programs",
    errno.ENOMEM: "not enough memory: end other programs",
    errno.ESTALE: "its network disk has lost it: try again",
    errno.EBUSY: "another program holds it: end that, or name another place",
    errno.ENXIO: "it is no file or folder",
}


def system_reason(error: OSError) -> str:
    """Why the system would not do something, in words that follow the name of a file or folder."""
    known = _REASONS.get(error.errno) if error.errno is not None else None
    return known or error.strerror or " ".join(str(error).split()) or type(error).__name__


def nearest(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the known name closest to `name`, or nothing where none is close."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{matches[0]}'?)" if matches else ""
