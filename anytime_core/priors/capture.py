"""Capturing CUDA graphs of any work."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Generic, TypeVar

import torch

from anytime_core.errors import AnytimeError, UsageError

V = TypeVar("V")

_KEPT = 4
"""How many unused graphs are kept with their buffers."""


class Pool(Generic[V]):
    """Captured graphs with their buffers, by shape. One batch uses a graph at a time."""

    def __init__(self) -> None:
        self._free: OrderedDict[Hashable, list[V]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, shape: Hashable) -> V | None:
        """An unused graph of this shape, None if there is none."""
        with self._lock:
            free = self._free.get(shape)
            return free.pop() if free else None

    def give_back(self, shape: Hashable, value: V) -> None:
        """Give a graph back for the next batch of this shape. Graphs of shapes that are long unused are dropped."""
        with self._lock:
            self._free.setdefault(shape, []).append(value)
            self._free.move_to_end(shape)
            while sum(map(len, self._free.values())) > _KEPT:
                oldest = next(iter(self._free))
                del self._free[oldest][:1]
                if not self._free[oldest]:
                    del self._free[oldest]


def require_cuda(device: torch.device) -> None:
    """Raise UsageError if `device` has no CUDA graphs."""
    if device.type != "cuda":
        raise UsageError(f"engine 'graph' needs a CUDA device, not '{device}': use --device cuda, or --engine eager")


def warm_up(work: Callable[[], None]) -> None:
    """Do `work` once on a stream of its own, so that capturing is not the first to open libraries such as cuBLAS."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work()
    torch.cuda.current_stream().wait_stream(stream)


@contextlib.contextmanager
def capturing(what: str) -> Iterator[None]:
    """Turn failures to capture `what` into an AnytimeError that names the way out."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise AnytimeError(
            f"no memory on the GPU to capture {what}: use a smaller --batch-size, or --engine eager"
        ) from error
    except RuntimeError as error:
        first_line = str(error).partition("\n")[0]
        raise AnytimeError(f"CUDA graphs cannot be captured here ({first_line}): use --engine eager") from error
