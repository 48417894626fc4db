"""Samples that a GPU still decodes and copies while the next ones are drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from anytime_core.sampling.samples import Samples


@dataclass(frozen=True)
class PendingSamples:
    """A batch whose samples may still be on their way to the CPU. Several threads may wait for it at a time.

    Attributes:
        samples: the batch; `x` must not be looked at before `wait`.
        moments: when its codes were begun, when they were drawn, and when its samples have arrived; None if all is
            there.
    """

    samples: Samples
    moments: tuple[torch.cuda.Event, torch.cuda.Event, torch.cuda.Event] | None = None

    def __len__(self) -> int:
        """B."""
        return len(self.samples.indices)

    def wait(self) -> Samples:
        """The batch, once its samples have arrived."""
        if self.moments is None:
            return self.samples
        begun, drawn, arrived = self.moments
        arrived.synchronize()
        milliseconds = {"codes": begun.elapsed_time(drawn), "decode": drawn.elapsed_time(arrived)}
        return replace(self.samples, seconds={name: value / 1000 for name, value in milliseconds.items()})


class Pipe:
    """The way of samples from a GPU to the CPU. The GPU does all of it in order, and nothing waits for it.

    Args:
        device: the GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def moment(self) -> torch.cuda.Event:
        """The moment at which the GPU has done all that it was asked to do until now."""
        moment = torch.cuda.Event(enable_timing=True)
        moment.record(torch.cuda.current_stream(self.device))
        return moment

    def copied(self, x: Tensor) -> Tensor:
        """A copy of a tensor in pinned memory, which is complete at the next `moment`."""
        copy = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
        return copy.copy_(x, non_blocking=True)


def pipe_from(device: torch.device) -> Pipe | None:
    """The way from a device; None if there is none, as on the CPU, which draws and decodes with the same cores."""
    return Pipe(device) if device.type == "cuda" else None
