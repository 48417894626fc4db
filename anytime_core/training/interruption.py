"""Ctrl-C and SIGTERM end a training between two steps, after a checkpoint."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

import torch

from anytime_core.distributed import summed, world_size

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """While open, the first Ctrl-C or SIGTERM is only noted; a second Ctrl-C interrupts at once, as usual.

    Attributes:
        signal: the number of the signal that came, None until then.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        # Python lets only the main thread handle signals; in other threads the caller handles them.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number

    def agreed(self, device: torch.device) -> int | None:
        """The signal that any of the processes got, None if none did. All processes must ask at the same step."""
        if world_size() == 1:
            return self.signal
        came = torch.tensor([self.signal == number for number in _SIGNALS], dtype=torch.int32, device=device)
        numbers = [number for number, count in zip(_SIGNALS, summed(came).tolist(), strict=True) if count]
        return numbers[-1] if numbers else None
