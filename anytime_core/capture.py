"""Work that is captured as a CUDA graph once, and replayed at no cost of starting kernels."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from anytime_core.errors import AnytimeError, UsageError
from anytime_core.exhaustion import exhausted

T = TypeVar("T")
V = TypeVar("V")

_KEPT = 4
"""How many unused graphs are kept with their buffers."""

_capturing = threading.Lock()
"""Captures of all threads use one stream."""


@dataclass(frozen=True)
class Captured(Generic[T]):
    """Captured work.

    Attributes:
        result: what the work returned while it was captured; each replay writes into its tensors.
        replay: does the work again on the tensors that it had then, without waiting for the device.
        memory: what the graph's passing tensors lie in.
    """

    result: T
    replay: Callable[[], None]
    memory: Any = None


def capture(
    work: Callable[[], T], device: torch.device, *, what: str, way_out: str, beside: Captured[Any] | None = None
) -> Captured[T]:
    """Capture `work`, which is not done by this.

    Work that opens libraries or allocates memory of its own must have been done once before, see `warm_up`. It must not
    wait for the device, and its shapes must not follow from values.

    Args:
        work: reads and writes tensors that outlive the graph.
        device: on which it runs.
        what: is captured, for messages.
        way_out: what to do if it cannot be captured, for messages.
        beside: captured work whose memory it may use, as the two are never replayed at the same time and neither has
            a result that must outlive the other.

    Raises:
        AnytimeError: there is no memory on the device, or the work cannot be captured.
    """
    try:
        return _captured(work, device, beside)
    except RuntimeError as error:
        if out_of_memory(error):
            raise AnytimeError(
                f"no memory on {device} to capture {what}, or another process holds it: {way_out}"
            ) from error
        first_line = str(error).partition("\n")[0]
        raise AnytimeError(f"{what} cannot be captured as a CUDA graph here ({first_line}): {way_out}") from error


def out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or the one in whose handling it was raised, says that there is no memory."""
    return isinstance(error, Exception) and (exhausted(error) == "memory" or out_of_memory(error.__context__))


def warm_up(work: Callable[[], T], device: torch.device) -> T:
    """The result of `work`, done on a stream of its own, so that capturing it is not the first to open libraries."""
    if device.type != "cuda":
        return work()
    with torch.cuda.device(device):
        stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            result = work()
        current.wait_stream(stream)
    return result


def can_capture(device: torch.device) -> bool:
    """Whether work on this device can be captured."""
    return device.type == "cuda"


def require_capture(device: torch.device, *, what: str, way_out: str) -> None:
    """Raise UsageError, which begins with `what`, if work on this device cannot be captured."""
    if not can_capture(device):
        raise UsageError(f"{what} needs a CUDA device, not '{device}': {way_out}")


def _captured(work: Callable[[], T], device: torch.device, beside: Captured[Any] | None) -> Captured[T]:
    graph, memory = torch.cuda.CUDAGraph(), None if beside is None else beside.memory
    # A capture that fails leaves its own stream as the current one.
    with _capturing, torch.cuda.device(device), torch.cuda.stream(torch.cuda.current_stream(device)):
        reason: Exception | None = None
        try:
            # Other threads may go on allocating meanwhile.
            with torch.cuda.graph(graph, memory, capture_error_mode="thread_local"):
                try:
                    result = work()
                except Exception as error:
                    reason = error  # ending the capture raises another one, which does not say why
                    raise
        except Exception as error:
            _end_failed_capture(device)
            raise reason or error from None

    def replay() -> None:
        with torch.cuda.device(device):
            graph.replay()

    return Captured(result, replay, graph.pool())


def _end_failed_capture(device: torch.device) -> None:
    """Let the device draw random numbers again: they are as in a capture until one ends well, as this one does."""
    with contextlib.suppress(RuntimeError), torch.cuda.graph(torch.cuda.CUDAGraph(), capture_error_mode="thread_local"):
        torch.zeros(1, device=device)


class Pool(Generic[V]):
    """Captured work with its buffers, by shape. One batch uses it at a time."""

    def __init__(self) -> None:
        self._free: OrderedDict[Hashable, list[V]] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def lent(self, shapes: Sequence[Hashable], make: Callable[[], V]) -> Iterator[V]:
        """Lend what is unused of one of `shapes`, asked one after another, or what `make` makes for the first.

        What fails in the block is not used again. If there is no memory for `make`, all that is unused is dropped.
        """
        found = ((shape, self.take(shape)) for shape in shapes)
        shape, value = next((pair for pair in found if pair[1] is not None), (shapes[0], None))
        lent = self._made(make) if value is None else value
        try:
            yield lent
        except Exception:
            raise
        except BaseException:
            self.give_back(shape, lent)
            raise
        self.give_back(shape, lent)

    def take(self, shape: Hashable) -> V | None:
        """What is unused of this shape, None if there is nothing."""
        with self._lock:
            free = self._free.get(shape)
            return free.pop() if free else None

    def _made(self, make: Callable[[], V]) -> V:
        try:
            return make()
        except (RuntimeError, AnytimeError) as error:
            if not any(self._free.values()) or not out_of_memory(error):
                raise
        with self._lock:
            self._free.clear()
        return make()

    def give_back(self, shape: Hashable, value: V) -> None:
        """Give it back for the next batch of this shape. What is of shapes that are long unused is dropped."""
        with self._lock:
            self._free.setdefault(shape, []).append(value)
            self._free.move_to_end(shape)
            while sum(map(len, self._free.values())) > _KEPT:
                oldest = next(iter(self._free))
                del self._free[oldest][:1]
                if not self._free[oldest]:
                    del self._free[oldest]
