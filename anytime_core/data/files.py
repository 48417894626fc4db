"""Writing files so that a reader sees the old one or the whole new one, never a part.

Files that are being written lie in folders that only this user may write to, and files that work goes on from are
never opened through a link. So other users who may write to the same place can neither change them nor make us write
elsewhere.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

from filelock import FileLock, Timeout

from anytime_core.data.reading import JSON_LIMIT, read_limited
from anytime_core.display import shown
from anytime_core.errors import UsageError, named_file

PARTIAL_PREFIX = ".partial-"
"""Start of the names of files and folders that are being written."""

_FLUSHED_ONE_BY_ONE = 50
_LOOK = 0.2  # seconds for which a process that only looks whether a lock is held may hold it
_SINGLE_PREFIX = f"{PARTIAL_PREFIX}file-"
_SINGLE = re.compile(rf"{re.escape(_SINGLE_PREFIX)}\w{{8}}")
"""The folder of one file that is being written, as `tempfile` names it."""
_PLACELESS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Errors of the disk, for which the system names no file that is being written."""


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary path of the same name, renamed to `path` if the block ends without an error.

    It lies beside `path`, in a folder of its own that only this user can write to. If `durable`, the file is flushed
    to disk first; it then survives a power cut, but this can take long.
    """
    try:
        own = Path(tempfile.mkdtemp(prefix=_SINGLE_PREFIX, dir=path.parent))
    except OSError as error:
        error.filename = str(path)
        raise
    temporary = own / path.name
    try:
        yield temporary
        if durable:
            _flush(temporary)
        temporary.replace(path)
    except OSError as error:
        _name_final(error, temporary, path)
        raise
    finally:
        shutil.rmtree(own, ignore_errors=True)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a text file at once; see `replacing`."""
    with replacing(path, durable=durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Write JSON for people too: indented, keys in the given order; see `replacing`."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n", durable=durable)


def remove_partial_files(folder: Path) -> None:
    """Remove files that killed processes left half written in a folder; no process may be writing there."""
    for path in folder.glob(f"{PARTIAL_PREFIX}*"):
        if path.is_symlink() or path.is_file():
            if path.suffix not in (".lock", ".holder"):  # of a job that fills a folder in this one
                path.unlink(missing_ok=True)
        elif _SINGLE.fullmatch(path.name):
            shutil.rmtree(path, ignore_errors=True)


def open_own(path: Path, mode: Literal["rb", "a+b"]) -> BinaryIO:
    """Open a file that this user's work goes on from, in a place where others may have put another one.

    Args:
        path: of the file.
        mode: `rb`, or `a+b` to make it if it is missing.

    Raises:
        UsageError: it is a link, has further names, is not a file, or belongs to somebody else.
    """
    common = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    access = os.O_RDONLY if mode == "rb" else os.O_RDWR | os.O_APPEND
    if mode == "a+b":
        with suppress(FileExistsError):
            return os.fdopen(os.open(path, access | common | os.O_CREAT | os.O_EXCL, 0o600), mode)
    try:
        descriptor = os.open(path, access | common)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EISDIR):
            raise UsageError(f"{shown(path)} is not a file of this job: remove it") from None
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or not _is_own(status, path.parent):
        os.close(descriptor)
        raise UsageError(f"{shown(path)} is not a file of this job: remove it")
    return os.fdopen(descriptor, mode)


def flush_all(folder: Path) -> None:
    """Bring everything in a folder to the disk, with all else that is on its way to the same file system."""
    if (syncfs := _syncfs()) is not None:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            syncfs(descriptor)
        except OSError as error:
            error.filename = str(folder)
            raise
        finally:
            os.close(descriptor)
    elif hasattr(os, "sync"):
        os.sync()
    else:
        for path in folder.iterdir():
            _flush(path)


@contextmanager
def filling(
    folder: Path,
    *,
    name: str | None = None,
    keep: Callable[[], bool] = lambda: False,
    durable: bool = True,
    move: Callable[[Path, Path], None] | None = None,
) -> Iterator[Path]:
    """A temporary folder whose files move into `folder` if the block ends without an error, `*.json` last.

    Until then `folder` is untouched; files of the same name are replaced, others stay.

    Args:
        folder: made if it is missing, with its parents.
        name: of the job; the temporary folder is then the same in every call, and holds what a killed call left.
        keep: asked after an error; true keeps the temporary folder for a later call of that name.
        durable: flush to disk before moving, see `replacing`.
        move: called with the temporary folder and `folder` instead of moving all files.

    Raises:
        UsageError: another process works on the job `name`, or others may write to its temporary folder.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    parent = folder.parent
    made = _make_folders(parent)
    try:
        with _temporary_folder(folder, name) as temporary:
            try:
                yield temporary
                if durable:
                    _flush_files(temporary)
                (move or move_files)(temporary, folder)
            except BaseException as error:
                if isinstance(error, OSError):
                    _name_final(error, temporary, folder)
                if not keep():
                    shutil.rmtree(temporary, ignore_errors=True)
                raise
            else:
                shutil.rmtree(temporary, ignore_errors=True)
    except BaseException:
        for path in made:
            with suppress(OSError):
                path.rmdir()
        raise


@contextmanager
def naming(place: Path) -> Iterator[None]:
    """Let an error of a full disk in the block name `place`, if it names no file itself."""
    try:
        yield
    except OSError as error:
        _name_final(error, place, place)
        raise


@contextmanager
def locked(folder: Path, name: str, work: str) -> Iterator[None]:
    """Keep other processes from the same work in a folder while the block runs; a killed process keeps nobody out.

    Args:
        folder: made if it is missing, and removed again if nothing is in it at the end.
        name: of the lock: it is `.<name>.lock`, beside `.<name>.holder`, which tells who holds it.
        work: what is done there, such as `training runs/a`, for the message shown to the second process.

    Raises:
        UsageError: a living process holds the lock.
    """
    made = _make_folders(folder)
    try:
        with holding(folder / f".{name}", work, wait=_LOOK):
            yield
    finally:
        for path in made:
            with suppress(OSError):
                path.rmdir()


def holder_of(folder: Path, name: str) -> dict[str, Any] | None:
    """What is known of the process that holds the lock `name` of `locked` in a folder; None if no process holds it."""
    lock = folder / f".{name}.lock"
    if not lock.is_file() or lock.is_symlink():
        return None
    try:
        probe = FileLock(lock)
        probe.acquire(timeout=0)
        probe.release()
        return None
    except Timeout:
        return _told(folder / f".{name}.holder")
    except OSError:  # another user's lock, which only looks held
        return _told(folder / f".{name}.holder") or None


@contextmanager
def _temporary_folder(folder: Path, name: str | None) -> Iterator[Path]:
    """A folder beside `folder`: a new one, or the folder of a named job, which one process at a time can have."""
    if name is None:
        yield Path(tempfile.mkdtemp(prefix=PARTIAL_PREFIX, dir=folder.parent))
        return
    temporary = folder.parent / f"{PARTIAL_PREFIX}{folder.resolve().name}-{name}"
    with holding(temporary, f"writing the same to {shown(folder)}"):
        _make_own(temporary)
        yield temporary


def _make_own(folder: Path) -> None:
    """Make a folder that only this user may write to, or take the one that is there; UsageError if it is not theirs."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode):
            raise UsageError(
                f"{shown(folder)} is a link or a file, where a job's own folder would be: remove it"
            ) from None
        if status.st_mode & 0o022 or not _is_own(status, folder.parent):
            raise UsageError(f"others may write to {shown(folder)}, where a job's files would be: remove it") from None


def _is_own(status: os.stat_result, folder: Path) -> bool:
    """Whether something in `folder` has the owner that a new file of this user would have: some disks name another."""
    if not hasattr(os, "geteuid") or status.st_uid == os.geteuid():
        return True
    with tempfile.TemporaryFile(dir=folder) as probe:
        return os.fstat(probe.fileno()).st_uid == status.st_uid


@contextmanager
def holding(path: Path, work: str, *, wait: float = 0) -> Iterator[None]:
    """Hold the lock `<path>.lock`, with who holds it in `<path>.holder`; see `locked`. Waits at most `wait` seconds."""
    lock, holder = FileLock(f"{path}.lock"), Path(f"{path}.holder")
    try:
        lock.acquire(timeout=wait, poll_interval=0.05)
    except Timeout:
        raise UsageError(f"{_named(holder)} is {work}: wait for it, or choose another folder") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise UsageError(f"{shown(lock.lock_file)} is a link: remove it") from None
        raise
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        told = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}) + "\n"
        holder.unlink(missing_ok=True)
        with suppress(FileExistsError), holder.open("x", encoding="utf-8") as file:
            file.write(told)
        yield
    finally:
        # Removed while it is held, so that nobody locks a file that is about to go.
        holder.unlink(missing_ok=True)
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _named(holder: Path) -> str:
    """The process that a file describes; the file may be missing or half written."""
    try:
        told = _told(holder)
        return shown(f"process {told['pid']} on {told['host']}, since {told['since']},")
    except KeyError:
        return "another process"


def _told(holder: Path) -> dict[str, Any]:
    """What a file says of a process; nothing if it is missing or half written."""
    try:
        told = json.loads(read_limited(holder, JSON_LIMIT))
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def move_files(temporary: Path, folder: Path) -> None:
    """Move all files of a folder into another, `*.json` last, or the folder itself if there is no other."""
    if not folder.exists():
        temporary.replace(folder)
        folder.chmod(0o777 & ~_umask())
        return
    last = []
    with os.scandir(temporary) as entries:
        for entry in entries:
            if entry.name.endswith(".json"):
                last.append(entry.name)
            else:
                os.replace(entry.path, folder / entry.name)
    for file in last:
        (temporary / file).replace(folder / file)


def _flush_files(folder: Path) -> None:
    """Bring the files of a folder to the disk: one by one or, if they are many, with all that the system holds."""
    with os.scandir(folder) as entries:
        paths = [Path(entry.path) for entry in islice(entries, _FLUSHED_ONE_BY_ONE + 1)]
    if len(paths) > _FLUSHED_ONE_BY_ONE:
        flush_all(folder)
    else:
        for path in paths:
            _flush(path)


@cache
def _syncfs() -> Callable[[int], None] | None:
    """Linux's `syncfs`, which Python lacks; None on other systems."""
    if sys.platform != "linux":
        return None
    import ctypes

    try:
        function = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return None

    def call(descriptor: int) -> None:
        if function(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    return call


def _flush(path: Path) -> None:
    """Flush a file to the disk."""
    if path.is_file():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _name_final(error: OSError, temporary: Path, final: Path) -> None:
    """Let an error about something temporary, or about the disk, name what the user asked for."""
    if (named := named_file(error)) is not None:
        error.filename = named.replace(str(temporary), str(final))
    elif error.filename is None and error.errno in _PLACELESS:
        error.filename = str(final)


def _make_folders(folder: Path) -> list[Path]:
    """Make `folder` and its parents; return those that were missing, innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
