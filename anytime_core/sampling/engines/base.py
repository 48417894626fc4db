"""What engines do, and the loop that those share which take one step a code.

Letters: B batch, n codes to draw, K codebook size.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from anytime_core.decoding.base import Decoder
from anytime_core.errors import UsageError
from anytime_core.priors import TransformerPrior
from anytime_core.sampling.draw import Filter, draw_codes
from anytime_core.sampling.guidance import GuidedDecoder, with_null_labels
from anytime_core.sampling.noise import Noise


class Engine(Protocol):
    """Draws codes from one prior, which lives on the device it is run on."""

    def draw(self, labels: Tensor | None, noise: Noise, filtering: Filter) -> Iterator[Tensor]:
        """Draw a batch; whoever iterates may stop at any time.

        Args:
            labels: [B] on the prior's device, None for an unconditional prior.
            noise: of the batch, on the prior's device.
            filtering: changes to the prior's distribution.

        Yields:
            The codes so far, [B, 1], [B, 2], ... up to [B, n], views of one buffer; an engine may skip lengths.
        """
        ...


class SteppedEngine(ABC):
    """An engine that asks a `Decoder` for the logits of one code at a time.

    Args:
        prior: in evaluation mode.
        precision: `float32`, or another of `precisions`.
    """

    name: str
    precisions: tuple[str, ...] = ("float32",)

    def __init__(self, prior: TransformerPrior, precision: str) -> None:
        if precision not in self.precisions:
            known = ", ".join(self.precisions)
            raise UsageError(f"engine '{self.name}' has no precision '{precision}': use {known}")
        self.prior, self.precision = prior, precision

    @abstractmethod
    def open(self, labels: Tensor | None, batch: int, length: int) -> Decoder:
        """A decoder for a batch of `length` codes."""

    def open_guided(self, labels: Tensor | None, batch: int, length: int, filtering: Filter) -> Decoder:
        """The same, with the guidance of `filtering`."""
        if not filtering.guided:
            return self.open(labels, batch, length)
        both = self.open(with_null_labels(self.prior, labels), 2 * batch, length)
        return GuidedDecoder(both, batch, filtering.guidance)

    def threads(self, batch: int) -> int:
        """Number of torch threads that a step of so many sequences runs with."""
        return torch.get_num_threads()

    @torch.inference_mode()
    def draw(self, labels: Tensor | None, noise: Noise, filtering: Filter) -> Iterator[Tensor]:
        """See `Engine`."""
        batch, length = noise.shape[:2]
        codes = torch.empty(length, batch, dtype=torch.int64, device=noise.device)
        decoder = self.open_guided(labels, batch, length, filtering)
        for position in range(length):
            with torch_threads(self.threads(filtering.rows(batch))):
                logits = decoder.step(position, codes[position - 1] if position else None)
                codes[position] = draw_codes(logits, noise.at(position), filtering)
            yield codes[: position + 1].T


@contextlib.contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Run torch's operators on `number` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
