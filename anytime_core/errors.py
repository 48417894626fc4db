"""Errors that a user can fix: each message names the offending value and the way out."""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path


class AnytimeError(Exception):
    """A failure that the user can act on. The command line prints the message and exits with `exit_status`."""

    exit_status = 1


class UsageError(AnytimeError):
    """A wrong option, name or value; nothing was attempted."""

    exit_status = 2


class ConfigError(UsageError):
    """A configuration with one or more mistakes; the message lists all of them."""


class DataError(AnytimeError):
    """Data that is missing, empty or unreadable."""


class RunError(AnytimeError):
    """A run folder that is missing, unfinished, damaged or too new."""


class MissingPluginError(RunError):
    """A run needs a plugin that is not installed."""


class InterruptedTrainingError(AnytimeError):
    """Ctrl-C or SIGTERM ended a training, which is in a checkpoint. The exit status is 130 or 143, as in a shell."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.exit_status = 128 + signal


class PluginError(AnytimeError):
    """A plugin that does not work."""


_FURTHER = {
    errno.EISDIR: ", where a file is wanted",
    errno.ENOTDIR: ": a part of this path is a file, where a folder is wanted",
    errno.EACCES: ": ask its owner, or name another place",
    errno.EPERM: ": ask its owner, or name another place",
    errno.EROFS: ": name a place on another disk",
    errno.ENOSPC: ": make room there, or name a place on another disk",
    errno.EDQUOT: ": make room there, or name a place on another disk",
    errno.EFBIG: " for its disk: name a place on another one",
    errno.ENAMETOOLONG: ": choose a shorter one",
    errno.ELOOP: ": they lead in a circle, so remove one of them",
    errno.EIO: ": its disk has a fault, so copy it to another one",
    errno.EMFILE: ": raise the limit with ulimit -n",
    errno.ENFILE: ": end other programs",
    errno.ENOMEM: ": end other programs",
    errno.EAGAIN: ": end other programs",
    errno.ESTALE: ": its network disk has lost it, so try again",
    errno.EBUSY: ": another program holds it, so end that, or name another place",
    errno.EEXIST: " already: name another place",
    errno.ENOTEMPTY: ": name another place",
    errno.ENXIO: ": it is no file or folder",
    errno.ENODEV: ": it is no file or folder",
}


def named_file(error: OSError) -> str | None:
    """The path that an error names, None if it names none; some libraries name it in bytes."""
    path = error.filename
    return os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else None


def system_reason(error: OSError) -> str:
    """Why the system refused something, and the way out, in words that can follow the name of a file or folder."""
    if error.errno is None or not error.strerror:
        return (str(error).strip().splitlines() or [type(error).__name__])[-1]
    if error.strerror != os.strerror(error.errno):
        return error.strerror  # a sentence of ours, which says enough
    if error.errno == errno.ENOENT and (folder := os.path.dirname(named_file(error) or "")):
        return error.strerror if os.path.isdir(folder) else f"{error.strerror}: there is no folder {folder}"
    return f"{error.strerror}{_FURTHER.get(error.errno, '')}"


@contextlib.contextmanager
def writing_to(folder: Path, option: str) -> Iterator[None]:
    """Raise an AnytimeError if a folder cannot be written to; `option`, such as `--out`, names another one."""
    try:
        yield
    except OSError as problem:
        if problem.errno is None:  # a library's own, which names what it is about
            raise
        reason = system_reason(problem)
        file = named_file(problem)
        named = None if file is None else Path(file)
        if named is None or named == folder or named in folder.parents or folder in named.parents:
            raise AnytimeError(f"cannot write to {folder}: {reason}; choose another {option}") from problem
        raise AnytimeError(f"{named}: {reason}") from problem


def nearest(name: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the known name closest to `name`; empty if none is close."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{matches[0]}'?)" if matches else ""
