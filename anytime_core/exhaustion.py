"""Memory that is used up and processes that have ended: errors of libraries, in one line with the way out."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from anytime_core.errors import AnytimeError

Cause = Literal["memory", "workers", "peers"]

# Errors are known by their texts: torch raises plain RuntimeErrors, and importing it for others takes seconds.
_TEXTS: dict[Cause, re.Pattern[str]] = {
    "workers": re.compile(r"DataLoader worker \(pid|</torch_|shared memory"),
    "memory": re.compile(r"out of memory|allocate|alloc_failed|bad.alloc|not enough memory", re.IGNORECASE),
    "peers": re.compile(r"gloo|NCCL|by peer|Broken pipe|ProcessGroup|TCPStore|[Ss]ocket [Tt]imeout"),
}
_WORKER_ERROR = re.compile(r"^Caught \w+ in DataLoader worker .*\n[\w.]+: (?P<message>[^\n]+)\s*$", re.DOTALL)

_GPU = re.compile(r"CUDA|HIP|CUBLAS|CUDNN")

_MESSAGES: dict[Cause, str] = {
    "memory": "out of memory",
    "workers": "the processes that load the data were killed, or found no room in /dev/shm: set training.workers=0",
    "peers": "another process of this training has ended; its own messages say why",
}


def exhausted(error: Exception) -> Cause | None:
    """What an error of a library says is used up or has ended; None for any other error."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return "memory"
    if isinstance(error, RuntimeError):
        return next((cause for cause, text in _TEXTS.items() if text.search(str(error))), None)
    return None


def what_ran_out(error: Exception, cause: Cause) -> str:
    """What an error says, in the words of this toolkit."""
    if cause == "memory" and _GPU.search(str(error)):
        return "out of memory on the GPU, of which another process may hold a part"
    return _MESSAGES[cause]


@contextmanager
def explained(work: str, *, memory: str, peers: str = "") -> Iterator[None]:
    """Turn errors of exhaustion in the block into an `AnytimeError` of one line; others pass unchanged.

    Our own errors from a process that loads data have its whole traceback as their message; they get back their own
    message.

    Args:
        work: what the block does, which starts the message.
        memory: what to do if memory ran out.
        peers: what to do if another process ended.
    """
    try:
        yield
    except AnytimeError as error:
        if told := _WORKER_ERROR.match(str(error)):
            raise type(error)(told["message"]) from error
        raise
    except (MemoryError, RuntimeError, OSError) as error:
        cause = exhausted(error)
        if cause is None:
            raise
        way_out = {"memory": memory, "peers": peers, "workers": ""}[cause]
        raise AnytimeError(f"{work}: " + "; ".join(filter(None, (what_ran_out(error, cause), way_out)))) from error
