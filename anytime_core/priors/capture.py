"""What capturing CUDA graphs takes, whatever is in them."""

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
"""Of those that nobody uses, how many are kept with their buffers."""


class Pool(Generic[V]):
    """Captured graphs with their buffers, by their shape; each is used by one batch at a time."""

    def __init__(self) -> None:
        self._free: OrderedDict[Hashable, list[V]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, shape: Hashable) -> V | None:
        """One that nobody uses, None if there is none."""
        with self._lock:
            free = self._free.get(shape)
            return free.pop() if free else None

    def give_back(self, shape: Hashable, value: V) -> None:
        """Let the next batch of this shape have it; those of shapes that were not asked for long are dropped."""
        with self._lock:
            self._free.setdefault(shape, []).append(value)
            self._free.move_to_end(shape)
            while sum(map(len, self._free.values())) > _KEPT:
                oldest = next(iter(self._free))
                del self._free[oldest][:1]
                if not self._free[oldest]:
                    del self._free[oldest]


def require_cuda(device: torch.device) -> None:
    """Raise UsageError where `device` has no graphs."""
    if device.type != "cuda":
        raise UsageError(f"engine 'graph' needs a CUDA device, not '{device}': use --device cuda, or --engine eager")


def warm_up(work: Callable[[], None]) -> None:
    """Do once, on a stream of its own, what capturing must not be the first to do, such as opening cuBLAS."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work()
    torch.cuda.current_stream().wait_stream(stream)


@contextlib.contextmanager
def capturing(what: str) -> Iterator[None]:
    """What fails while `what` is captured is an AnytimeError that names the way out."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        raise AnytimeError(
            f"no memory on the GPU to capture {what}: use a smaller --batch-size, or --engine eager"
        ) from error
    except RuntimeError as error:
        first_line = str(error).partition("\n")[0]
        raise AnytimeError(f"CUDA graphs cannot be captured here ({first_line}): use --engine eager") from error
