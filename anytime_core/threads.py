"""Worker threads, each of which runs torch's operators on one thread.

The number of threads that an operator uses is a setting of the thread that calls it, and threads that start later get
the latest setting. So nothing changes it back and forth: work that is faster on single threads goes to workers that set
this once when they started.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

T = TypeVar("T")
P = TypeVar("P")
R = TypeVar("R")

_STARTING = threading.RLock()
_NAME = "anytime-single"


def usable_cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def single_threads(number: int, name: str) -> ThreadPoolExecutor:
    """`number` worker threads, all started, whose names begin with `name`."""
    threads = torch.get_num_threads()
    workers, started = ThreadPoolExecutor(number, name), threading.Barrier(number)

    def become_single(_: int) -> None:
        torch.get_num_threads()  # a thread's first question sets it to what new threads have
        torch.set_num_threads(1)
        started.wait()

    with _STARTING:
        try:
            list(workers.map(become_single, range(number)))
        except RuntimeError:  # there may be no more threads
            started.abort()
            raise
        finally:
            torch.set_num_threads(threads)  # as before, also for threads that start later
    return workers


class OrderedThreads:
    """Threads that work on the parts of a whole, whose results come in the order of the parts.

    They are started when they are first needed.

    Args:
        number: how many; 1 leaves the work to the thread that asks for the results, when it asks.
        name: how their names begin.
    """

    def __init__(self, number: int, name: str) -> None:
        self.number, self.name = number, name
        self._pool: ThreadPoolExecutor | None = None

    def start(self, work: Callable[[P], R], parts: Sequence[P]) -> Iterator[R]:
        """Begin the work on all parts. The results follow; the first error of a part is raised in its place."""
        if self.number < 2 or len(parts) < 2:
            return map(work, parts)
        if self._pool is None:
            try:
                self._pool = single_threads(self.number, self.name)
            except RuntimeError:  # the system allows no more threads
                self.number = 1
                return map(work, parts)
        begun = [self._pool.submit(work, part) for part in parts]
        return (future.result() for future in begun)

    def close(self, *, wait: bool = True) -> None:
        """Leave out what is not begun, and `wait` for the work that is being done."""
        if self._pool is not None:
            self._pool.shutdown(wait=wait, cancel_futures=True)


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
    return single_threads(torch.get_num_threads(), _NAME)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_workers.cache_clear)  # a child process has none of these threads
