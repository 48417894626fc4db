"""Reading tar files that come from others: headers are checked before tarfile trusts them.

With some of them tarfile would read the same place for ever (a negative size, CVE-2025-8194), hold gigabytes of
extended headers, or give content that is not there (sparse members).
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from anytime_core.data.reading import open_regular
from anytime_core.display import shown
from anytime_core.errors import DataError

_EXTENDED = frozenset({tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE})
_HEADERS = _EXTENDED | {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK}
_LARGEST_HEADER = 2**16  # bytes of a long name or of extended attributes, which tarfile holds in memory
_MOST_GLOBAL_RECORDS = 100
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # first bytes of gzip, bzip2, xz and zstd
REPLACE = "copy or pack it again, or move it out of the folder"
"""Advice for a damaged shard."""
_KIND = slice(156, 157)
_RECORD = re.compile(rb"([0-9]{1,6}) ([^=\n]+)=")
_MANY_DIGITS = re.compile(rb"[0-9]{200}")  # tarfile takes quadratic time to search them


class _Member(tarfile.TarInfo):
    """A member whose headers are refused with `tarfile.ReadError` if tarfile itself would go astray."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """See tarfile."""
        member = super().frombuf(buf, encoding, errors)
        if member.size < 0:
            raise tarfile.ReadError(f"member {member.name!r} has a negative size, {member.size}")
        if member.type == tarfile.GNUTYPE_SPARSE:
            raise _sparse(member.name)
        if member.type in _HEADERS and member.size > _LARGEST_HEADER:
            raise tarfile.ReadError(
                f"the header {member.name!r} has {member.size} bytes, more than the {_LARGEST_HEADER} it may have"
            )
        return member

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> Self:
        """See tarfile."""
        file = tar.fileobj
        assert file is not None
        start = file.tell()
        header = file.read(tarfile.BLOCKSIZE)
        if header[_KIND] in _EXTENDED:
            extended = cls.frombuf(header, tar.encoding, tar.errors or "strict")
            _check_records(file.read(extended.size), extended.name)
        file.seek(start)
        member = super().fromtarfile(tar)
        if len(tar.pax_headers) > _MOST_GLOBAL_RECORDS:
            raise _damaged(member.name)
        return member


def _check_records(content: bytes, name: str) -> None:
    """Raise `tarfile.ReadError` unless an extended header is whole records: `<bytes> <keyword>=<value>`, newline."""
    if _MANY_DIGITS.search(content):
        raise _damaged(name)
    position = 0
    while position < len(content):
        record = _RECORD.match(content, position)
        end = position + int(record[1]) if record else position
        if record is None or end > len(content) or end <= record.end() or content[end - 1 : end] != b"\n":
            raise _damaged(name)
        if record[2].startswith(b"GNU.sparse."):
            raise _sparse(name)
        if record[2] == b"size" and not content[record.end() : end - 1].isdigit():
            raise tarfile.ReadError(f"the extended header {name!r} has an impossible size")
        position = end


def _damaged(name: str) -> tarfile.ReadError:
    return tarfile.ReadError(f"the extended header {name!r} is damaged")


def _sparse(name: str) -> tarfile.ReadError:
    return tarfile.ReadError(f"member {name!r} is sparse, so not all of it is there: pack it again without --sparse")


@contextmanager
def open_tar(path: Path, offset: int = 0) -> Iterator[tarfile.TarFile]:
    """A tar file from `offset` on, where a member starts. It is opened anew each time, so that processes share nothing.

    Raises:
        DataError: it cannot be read, also in the block; the message names the file and, if one is at fault, the member.
    """
    try:
        with open_regular(path) as file:
            file.seek(offset)
            with tarfile.open(fileobj=file, mode="r:", tarinfo=_Member) as tar:
                yield tar
    # Damaged headers raise all of these; thousands of them in a row raise RecursionError.
    except (tarfile.TarError, OSError, ValueError, ArithmeticError, MemoryError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        way_out = "it is compressed: unpack it to a plain .tar" if _is_compressed(path) else REPLACE
        raise DataError(
            f"{shown(path)} cannot be read as a tar file from byte {offset} on: {reason}; {way_out}"
        ) from error


def _is_compressed(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return file.read(6).startswith(_COMPRESSED)
    except OSError:
        return False


def members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members in order; the tar file keeps none of them. Raises `tarfile.ReadError`, see `open_tar`."""
    while (member := tar.next()) is not None:
        tar.members = []  # type: ignore[attr-defined]  # a list of all, which would grow with the file
        check_extent(tar, member)
        yield member


def check_extent(tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    """Raise `tarfile.ReadError` for a member that goes on beyond the end of the file."""
    assert tar.fileobj is not None
    size = os.fstat(tar.fileobj.fileno()).st_size  # type: ignore[attr-defined]  # a file, of open_tar
    if member.size > size - member.offset_data and (member.isreg() or member.type not in tarfile.SUPPORTED_TYPES):
        raise tarfile.ReadError(
            f"member {member.name!r} claims {member.size} bytes, beyond the end of the file: unexpected end of data"
        )


def first_member(tar: tarfile.TarFile) -> tarfile.TarInfo:
    """The first member of an opened tar file. Raises `tarfile.ReadError` if there is none."""
    member = tar.next()
    if member is None:
        raise tarfile.ReadError("no member starts there")
    check_extent(tar, member)
    return member


def content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """The bytes of a member. Raises `tarfile.ReadError` if it is not a file."""
    file = tar.extractfile(member) if member.isreg() else None
    if file is None:
        raise tarfile.ReadError(f"{member.name!r} is not a file")
    return file.read()
