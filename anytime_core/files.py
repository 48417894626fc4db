"""Writing files so that a reader sees the old one or the whole new one, never a part."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PARTIAL_PREFIX = ".partial-"
"""Start of the names of files and folders that are being written."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, flushed to disk and renamed to `path` if the block ends without an error.

    The temporary name keeps the suffix, by which writers choose their format.
    """
    temporary = path.with_name(f"{PARTIAL_PREFIX}{os.getpid()}-{path.name}")
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    except OSError as error:
        _name_final(error, temporary, path)
        raise
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file at once."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON for people too: indented, keys in the given order."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """A temporary folder whose files move into `folder` if the block ends without an error.

    Until then `folder` is untouched; files of the same name are replaced, others stay.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    parent = folder.parent
    made = _make_folders(parent)
    try:
        temporary = Path(tempfile.mkdtemp(prefix=PARTIAL_PREFIX, dir=parent))
        try:
            yield temporary
            for path in temporary.iterdir():
                _flush(path)
            if folder.exists():
                for path in sorted(temporary.iterdir()):
                    path.replace(folder / path.name)
            else:
                temporary.chmod(0o777 & ~_umask())
                temporary.replace(folder)
        except OSError as error:
            _name_final(error, temporary, folder)
            raise
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except BaseException:
        for path in made:
            with suppress(OSError):
                path.rmdir()
        raise


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
