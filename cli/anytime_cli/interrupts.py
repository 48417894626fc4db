"""Ctrl-C, in a program most of whose first seconds are imports."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

_AGAIN = 0.05
"""Seconds until an interrupt that came during an import comes again."""
_WRITING = "anytime-files"
"""How the names of threads begin that make files, see `jobs.writing`."""


class Interrupts:
    """What is known of interrupts.

    Attributes:
        came: whether there was one.
    """

    came = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt, but not within an import: libraries lose it there, or break."""
        self.came = True
        if not _imports(frame):
            raise KeyboardInterrupt
        again = threading.Timer(_AGAIN, _thread.interrupt_main)
        again.daemon = True
        again.start()


@contextlib.contextmanager
def handled() -> Iterator[Interrupts]:
    """Handle Ctrl-C in the block, if this thread is the one that does."""
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    before = signal.signal(signal.SIGINT, interrupts.handle)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)


def leave_what_hangs(status: int) -> None:
    """End the program at once if a thread still writes a file, for which Python would wait, however long it hangs."""
    if any(thread.name.startswith(_WRITING) for thread in threading.enumerate()):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)


def _imports(frame: FrameType | None) -> bool:
    """Whether a frame runs on behalf of an import."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
