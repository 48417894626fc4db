"""Writing files so that a reader sees the old one or the whole new one, never a part."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from anytime_core.errors import UsageError

PARTIAL_PREFIX = ".partial-"
"""Start of the names of files and folders that are being written."""

JSON_LIMIT = 2**24
"""The most bytes of a JSON file that is read back; the largest that runs have are a hundredth of it."""

YAML_LIMIT = 2**18
"""The most bytes of a config."""

_FLUSHED_ONE_BY_ONE = 1000


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def require_regular_file(path: Path) -> None:
    """Raise OSError, of a sentence, unless `path` is a file with content: pipes and devices may never come to an end.

    For libraries that open a path themselves; where we open it, `open_regular` leaves nobody time to swap it.
    """
    _require_regular(path.stat().st_mode, path)


def open_regular(path: Path) -> BinaryIO:
    """Open a file that may be somebody else's for reading; never waits, as opening a pipe would.

    Raises:
        OSError: there is none, or it is a folder, a pipe or a device; `strerror` says so in words.
    """
    require_regular_file(path)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    file = os.fdopen(os.open(path, flags), "rb")
    try:
        _require_regular(os.fstat(file.fileno()).st_mode, path)
    except OSError:
        file.close()
        raise
    return file


def _require_regular(mode: int, path: Path) -> None:
    if stat.S_ISREG(mode):
        return
    # OSError makes an IsADirectoryError of the number.
    number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
    raise OSError(number, f"it is {_KINDS.get(stat.S_IFMT(mode), 'something else')}, not a file", str(path))


def read_limited(path: Path, limit: int) -> bytes:
    """What is in a file, which may be somebody else's.

    Raises:
        OSError: it is no file that can be read, see `open_regular`.
        ValueError: it holds more than `limit` bytes.
    """
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"it is larger than {limit:,} bytes")
    return content


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary path beside `path`, renamed to `path` if the block ends without an error.

    The temporary name keeps the suffix, by which writers choose their format. Where `durable`, the file is flushed to
    disk before, which outlives a power cut and can take long.
    """
    temporary = path.with_name(f"{PARTIAL_PREFIX}{os.getpid()}-{path.name}")
    try:
        yield temporary
        if durable:
            _flush(temporary)
        temporary.replace(path)
    except OSError as error:
        _name_final(error, temporary, path)
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write a text file at once; see `replacing`."""
    with replacing(path, durable=durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, *, durable: bool = True) -> None:
    """Write JSON for people too: indented, keys in the given order; see `replacing`."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n", durable=durable)


def remove_partial_files(folder: Path) -> None:
    """Remove what killed processes left half written in a folder; nobody may be writing there."""
    for path in folder.glob(f"{PARTIAL_PREFIX}*"):
        if path.is_file():
            path.unlink(missing_ok=True)


@contextmanager
def filling(
    folder: Path, *, name: str | None = None, keep: Callable[[], bool] = lambda: False, durable: bool = True
) -> Iterator[Path]:
    """A temporary folder whose files move into `folder` if the block ends without an error, `*.json` last.

    Until then `folder` is untouched; files of the same name are replaced, others stay.

    Args:
        folder: made where it is missing, with its parents.
        name: of the job; the temporary folder is then the same in every call, and what a killed one left is in it.
        keep: asked after an error; true keeps the temporary folder for a later call of that name.
        durable: flush to disk before moving, see `replacing`.

    Raises:
        UsageError: another process is at the job `name`.
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
                _move_files(temporary, folder)
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
def locked(folder: Path, name: str, work: str) -> Iterator[None]:
    """Keep other processes from the same work in a folder while the block runs; one that was killed keeps nobody out.

    Args:
        folder: made where it is missing, and removed again if nothing is in it at the end.
        name: of the lock: it is `.<name>.lock`, beside `.<name>.holder`, which tells who holds it.
        work: what is done there, such as `training runs/a`, for the message to whom comes second.

    Raises:
        UsageError: a living process holds the lock.
    """
    made = _make_folders(folder)
    try:
        with _holding(folder / f".{name}", work):
            yield
    finally:
        for path in made:
            with suppress(OSError):
                path.rmdir()


@contextmanager
def _temporary_folder(folder: Path, name: str | None) -> Iterator[Path]:
    """A folder beside `folder`: a new one, or that of a named job, which only one process at a time can have."""
    if name is None:
        yield Path(tempfile.mkdtemp(prefix=PARTIAL_PREFIX, dir=folder.parent))
        return
    temporary = folder.parent / f"{PARTIAL_PREFIX}{folder.resolve().name}-{name}"
    with _holding(temporary, f"writing the same to {folder}"):
        temporary.mkdir(exist_ok=True)
        if temporary.is_symlink():
            raise UsageError(f"{temporary} is a link, and would be emptied: remove it")
        yield temporary


@contextmanager
def _holding(path: Path, work: str) -> Iterator[None]:
    """Hold the lock `<path>.lock`, with who holds it in `<path>.holder`; see `locked`."""
    lock, holder = FileLock(f"{path}.lock"), Path(f"{path}.holder")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise UsageError(f"{_named(holder)} is {work}: wait for it, or choose another folder") from None
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        holder.unlink(missing_ok=True)  # a link would be followed
        holder.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}) + "\n")
        yield
    finally:
        # While it is held, so that nobody locks a file that is about to go.
        holder.unlink(missing_ok=True)
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _named(holder: Path) -> str:
    """The process that a file tells of; the file may be missing or half written."""
    try:
        told = json.loads(read_limited(holder, JSON_LIMIT))
        return f"process {told['pid']} on {told['host']}, since {told['since']},"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _move_files(temporary: Path, folder: Path) -> None:
    if not folder.exists():
        temporary.chmod(0o777 & ~_umask())
        temporary.replace(folder)
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
    """Bring the files of a folder to the disk: one by one, or all that the system holds where they are many."""
    with os.scandir(folder) as entries:
        paths = [Path(entry.path) for entry in islice(entries, _FLUSHED_ONE_BY_ONE + 1)]
    if len(paths) > _FLUSHED_ONE_BY_ONE and hasattr(os, "sync"):
        os.sync()
    else:
        for path in folder.iterdir():
            _flush(path)


def _flush(path: Path) -> None:
    """Bring what was written to a file to the disk."""
    if path.is_file():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _name_final(error: OSError, temporary: Path, final: Path) -> None:
    """Let an error about something temporary name what the user asked for."""
    if isinstance(error.filename, str | os.PathLike):
        error.filename = os.fspath(error.filename).replace(str(temporary), str(final))


def _make_folders(folder: Path) -> list[Path]:
    """Make `folder` and its parents; returns those that were missing, innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
