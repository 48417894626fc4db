"""Keeping libmpg123's remarks on MP3 files, which it writes straight to standard error, off the terminal."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

_REMARK = re.compile(rb"^\n?(?:\[src/libmpg123/|Warning: Xing stream size off)[^\n]*\n?", re.MULTILINE)
_STANDARD_ERROR = 2


class _Muffler:
    """While any thread decodes, standard error goes to a file; all but the library's remarks is passed on afterwards.

    All threads share one standard error, and the library has no switch that can be reached from here.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._threads = 0
        self._terminal = -1
        self._file: BinaryIO | None = None

    def enter(self) -> None:
        with self._lock:
            if self._threads == 0 and sys.__stderr__ is not None:  # without it, the descriptor may be another file
                with suppress(OSError):
                    self._begin()
            self._threads += 1

    def leave(self) -> None:
        with self._lock:
            self._threads -= 1
            if self._file is None:
                return
            if self._threads == 0:
                os.dup2(self._terminal, _STANDARD_ERROR)
            self._pass_on()
            if self._threads == 0:
                os.close(self._terminal)
                self._file.close()
                self._file = None

    def _begin(self) -> None:
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115, it outlives this call
        try:
            self._terminal = os.dup(_STANDARD_ERROR)
        except OSError:
            file.close()
            raise
        os.dup2(file.fileno(), _STANDARD_ERROR)
        self._file, self._passed_on = file, 0

    def _pass_on(self) -> None:
        assert self._file is not None
        size = os.fstat(self._file.fileno()).st_size
        if size > self._passed_on:
            written = os.pread(self._file.fileno(), size - self._passed_on, self._passed_on)
            self._passed_on = size
            with suppress(OSError):
                os.write(self._terminal, _REMARK.sub(b"", written))


_MUFFLER = _Muffler()


@contextmanager
def muffled(wanted: bool) -> Iterator[None]:
    """If `wanted`, keep libmpg123's remarks in this block off the terminal."""
    if not wanted or not hasattr(os, "pread"):
        yield
        return
    _MUFFLER.enter()
    try:
        yield
    finally:
        _MUFFLER.leave()
