"""The loop of steps as CUDA graphs, which read the position of the code from device memory.

Graphs of one code and of a few codes draw any number of codes and can be stopped between any two. They serve all
batches of their shape, with whatever seeds, labels and budgets.

n is the number of codes to draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from anytime_core.capture import Captured, Pool, capture, warm_up
from anytime_core.priors.base import CausalPrior
from anytime_core.priors.stepping import UNCAPTURED, CapturedEngine
from anytime_core.sampling.choices import Choice
from anytime_core.sampling.steps import network_labels, open_stepper

CHUNK = 8
"""Codes of the larger graph."""

AnyChoice = TypeVar("AnyChoice", bound=Choice)


@dataclass(frozen=True)
class _Shape:
    batch: int
    guidance: float
    choice: object


class CapturedLoops:
    """The captured loops of one engine. One batch uses a loop at a time, and a later batch of its shape uses it again.

    Args:
        engine: the engine, whose steppers can be captured.
        prior: the prior that it runs.
    """

    def __init__(self, engine: CapturedEngine, prior: CausalPrior) -> None:
        self.engine, self.prior = engine, prior
        self._pool: Pool[Loop[Any]] = Pool()

    def prefixes(
        self,
        labels: Tensor | None,
        batch: int,
        length: int,
        choice: Choice,
        guidance: float,
        ends: Sequence[int] | None = None,
    ) -> Iterator[Tensor]:
        """Yield codes [B, n] at each n of `ends`, ascending; None: at every 8th code and at the last one.

        The device may still be computing them. `labels` [B] are on the device; the choice is used up.
        """
        with self.open(labels, batch, length, choice, guidance) as loop:
            for end in every_chunk(length) if ends is None else ends:
                yield loop.draw(end)

    @contextmanager
    def open(
        self, labels: Tensor | None, batch: int, length: int, choice: AnyChoice, guidance: float
    ) -> Iterator[Loop[AnyChoice]]:
        """A loop for one batch of up to `length` codes; arguments as in `prefixes`.

        Raises:
            AnytimeError: there is no memory on the device, or a step cannot be captured.
        """
        shape = _Shape(batch, guidance, choice.key)
        lengths = self._lengths(length)

        def make() -> Loop[Any]:
            stepper = open_stepper(self.engine, self.prior, labels, batch, lengths[0], guidance)
            return Loop(stepper, choice, batch, lengths[0], CHUNK if length >= CHUNK else 1)

        with self._pool.lent([(most, shape) for most in lengths], make) as loop:
            loop.begin(network_labels(self.prior, labels, guidance), choice)
            yield loop

    def _lengths(self, length: int) -> list[int]:
        """The lengths of buffers that hold `length` codes: powers of two, or all codes; few serve all budgets."""
        most = self.prior.code_length
        powers = (CHUNK << power for power in range(most.bit_length()))
        return sorted({min(size, most) for size in powers if size >= length})


class Loop(Generic[AnyChoice]):
    """The graphs of one shape and the buffers that they read and write.

    Args:
        stepper: a stepper of the shape, see `CapturableStepper`.
        choice: chooses the codes. The loop keeps its tensors, see `Choice`.
        batch: B.
        length: the most codes.
        first: how many codes are captured now; other graphs are captured when they are first needed.

    Attributes:
        choice: the choice, in the state after the codes that are drawn.
    """

    @torch.inference_mode()
    def __init__(self, stepper: Any, choice: AnyChoice, batch: int, length: int, first: int) -> None:
        self.stepper, self.choice = stepper, choice
        device = choice.tensors[0].device
        self.position = torch.zeros(1, dtype=torch.int64, device=device)
        self._codes = torch.zeros(length + 1, batch, dtype=torch.int64, device=device)  # before the first one is a zero
        # Two of each, as kernels are compiled for pointers to multiples of 16 bytes.
        self._ahead = torch.arange(CHUNK, device=device).unsqueeze(1).repeat(1, 2)
        self._graphs: dict[int, Captured[None]] = {}
        self._capture(first)

    def _steps(self, codes: int) -> None:
        positions = self.position + self._ahead[:codes]
        previous, drawn = self._codes.index_select(0, self.position).squeeze(0), []
        for position in positions[:, :1]:
            previous = self.choice(position, self.stepper.step_at(position, previous))
            drawn.append(previous)
        self._codes.index_copy_(0, positions[:, 0] + 1, torch.stack(drawn))
        self.position.add_(codes)

    @torch.inference_mode()
    def begin(self, labels: Tensor | None, choice: AnyChoice) -> None:
        """Begin a batch: `labels` of all sequences that go through the network, and a choice of the same key."""
        self._labels = labels
        self.stepper.restart(labels)
        if choice is not self.choice:
            for mine, given in zip(self.choice.tensors, choice.tensors, strict=True):
                mine.copy_(given)
        self.position.zero_()
        self._drawn = 0

    @torch.inference_mode()
    def draw(self, end: int) -> Tensor:
        """Draw codes until there are `end`, and return a copy of them, [B, end]."""
        while self._drawn < end:
            codes = CHUNK if self._drawn + CHUNK <= end else 1
            if codes not in self._graphs:
                self._capture(codes)
                self._go_back()
            self._graphs[codes].replay()
            self._drawn += codes
        return self._codes[1 : end + 1].T.clone()

    def _capture(self, codes: int) -> None:
        """Capture so many codes. They are drawn once before, so that all kernels are loaded, and drawn anew later."""
        work, device = partial(self._steps, codes), self.position.device
        changed = (self.position, *self.choice.tensors)
        before = [tensor.clone() for tensor in changed]
        warm_up(work, device)
        for tensor, values in zip(changed, before, strict=True):
            tensor.copy_(values)
        what = f"the drawing of codes for a batch of {self._codes.shape[1]}"
        beside = next(iter(self._graphs.values()), None)
        self._graphs[codes] = capture(work, device, what=what, way_out=UNCAPTURED, beside=beside)

    def _go_back(self) -> None:
        """Give the stepper the drawn codes once more: it has drawn others for a capture, and may carry a state."""
        self.stepper.restart(self._labels)
        positions = torch.arange(self._drawn, device=self.position.device).unsqueeze(1).repeat(1, 2)[:, :1]
        for position, previous in zip(positions, self._codes, strict=False):
            self.stepper.step_at(position, previous)


def every_chunk(length: int) -> Sequence[int]:
    """The numbers of codes after which a graph of several codes ends."""
    return [*range(CHUNK, length, CHUNK), length]
