"""Building models whose sizes come from somebody else's file or config, within limits of memory.

A file may take no more memory than its own size justifies, a config no more than the machine has.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_SIZED = (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn)
_SIZED_AS = (Tensor.new_empty, Tensor.new_zeros, Tensor.new_ones)
_FILLED: dict[Callable[..., Any], int] = {torch.full: 0, Tensor.new_full: 1}
"""Functions that make a tensor from a size, each with the position of the size among its arguments."""


_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where Linux says how many bytes a container may take, in either version of control groups."""

_BYTES_A_WEIGHT = 4 * 4
"""Bytes that one trained weight takes: float32, with its gradient and Adam's two means."""


class TooLargeError(ValueError):
    """Tensors would have more elements than allowed."""


class LimitedElements(TorchFunctionMode):
    """While this is open, tensors made from sizes have at most `most` elements together.

    Building on the meta device first would do too, but takes seconds to import what convolutions need there.

    Args:
        most: elements of all tensors together.

    Raises:
        TooLargeError: a tensor would be too large; it is not made.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = self.left = most

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Count what `func` is about to make, and call it."""
        kwargs = kwargs or {}
        made = _elements(func, args, kwargs)
        self.left -= made
        # Other functions pass: switching gradients on again, while the error goes up, comes here too.
        if made and self.left < 0:
            raise TooLargeError(f"they ask for more than {self.most:,} numbers")
        return func(*args, **kwargs)


def trainable_weights() -> int:
    """How many weights this machine has the memory to train; an unlimited number if the system does not tell."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        memory = 2**63
    for path in _LIMITS:
        with contextlib.suppress(OSError, ValueError):  # there is no such file, or it says "max"
            memory = min(memory, int(path.read_text(encoding="ascii")))
    return memory // _BYTES_A_WEIGHT


def _elements(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """How many elements the tensor that `func` makes has; 0 for functions that make none from sizes."""
    if func in _SIZED_AS:
        func, args = torch.empty, args[1:]
    elif func in _FILLED:
        func, args = torch.empty, args[_FILLED[func] :][:1]
    if func in _SIZED:
        size = {"size": kwargs["size"]} if "size" in kwargs else {}
        return torch.empty(*args, **size, device="meta").numel()
    if func is torch.arange or func is torch.linspace:
        bounds = [value for value in args if isinstance(value, int | float)]
        return int(bounds[-1] if func is torch.linspace else abs(bounds[min(1, len(bounds) - 1)]))
    return 0
