"""What capturing CUDA graphs takes, whatever is in them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch

from anytime_core.errors import AnytimeError, UsageError


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
