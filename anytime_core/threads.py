"""Worker threads, each of which runs torch's operators on one thread.

The number of threads that an operator uses is a setting of the thread that calls it, and threads that start later get
the latest setting. So nothing changes it back and forth: work that is faster on single threads goes to workers that set
this once when they started.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

T = TypeVar("T")

_STARTING = threading.Lock()
_NAME = "anytime-single"


def alone(work: Callable[[], T]) -> T:
    """The result of `work`, done on one thread."""
    return beside([work])[0]


def beside(works: Sequence[Callable[[], T]]) -> list[T]:
    """The results of all `works`, done at the same time on one thread each."""
    inference = torch.is_inference_mode_enabled()

    def done(work: Callable[[], T]) -> T:
        with torch.inference_mode(inference):
            return work()

    if threading.current_thread().name.startswith(_NAME):  # a worker must not wait for other workers
        return [work() for work in works]
    with _STARTING:
        workers = _workers()
    return list(workers.map(done, works))


@cache
def _workers() -> ThreadPoolExecutor:
    """As many workers as torch has threads, all started."""
    number = torch.get_num_threads()
    workers, started = ThreadPoolExecutor(number, _NAME), threading.Barrier(number)

    def become_single(_: int) -> None:
        torch.get_num_threads()  # a thread's first question sets it to what new threads have
        torch.set_num_threads(1)
        started.wait()

    list(workers.map(become_single, range(number)))
    torch.set_num_threads(number)  # as before, also for threads that start later
    return workers


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_workers.cache_clear)  # a child process has none of these threads
