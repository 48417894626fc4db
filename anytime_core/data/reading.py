"""Reading files that may come from somebody else: within limits, and never waiting for a pipe or a device."""

from __future__ import annotations

import codecs
import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

JSON_LIMIT = 2**24
"""The most bytes of a JSON file that is read back; the largest that runs have are a hundredth of it."""

YAML_LIMIT = 2**18
"""The most bytes of a config."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def require_regular_file(path: Path) -> None:
    """Raise OSError, with a sentence, unless `path` is a regular file: pipes and devices may never end.

    This is for libraries that open a path themselves. If we open it, `open_regular` leaves no time to swap the file.
    """
    _require_regular(path.stat().st_mode, path)


def open_regular(path: Path) -> BinaryIO:
    """Open a file that may come from somebody else for reading; never wait, as opening a pipe would.

    Raises:
        OSError: there is no such file, or it is a folder, a pipe or a device; `strerror` says so in words.
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
    # From the number, OSError makes an IsADirectoryError.
    number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
    raise OSError(number, f"it is {_KINDS.get(stat.S_IFMT(mode), 'something else')}, not a file", str(path))


def read_limited(path: Path, limit: int) -> bytes:
    """The bytes of a file, which may come from somebody else.

    Raises:
        OSError: the file cannot be read, see `open_regular`.
        ValueError: the file holds more than `limit` bytes.
    """
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"it is larger than {limit:,} bytes")
    return content


_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    # Before those of UTF-16, with which they begin.
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
"""Byte order marks, with which some editors and shells begin a text, and the encodings that they stand for."""


def decoded(content: bytes) -> str:
    """The text in a file, in UTF-8 or what its byte order mark says. Raises ValueError, which says what to do."""
    mark = next((mark for mark in _MARKS if content.startswith(mark)), b"")
    encoding = _MARKS.get(mark, "utf-8")
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: len(mark) + error.start].count(b"\n") + 1
        raise ValueError(f"it is not text in {encoding.upper()}, see line {line}: save it as UTF-8") from error
    if not mark and "\0" in text:
        raise ValueError("it is not text in UTF-8, perhaps UTF-16 without a byte order mark: save it as UTF-8")
    return text
