"""The loop of steps as CUDA graphs: for each shape, several codes are captured at a time and replayed from then on.

n is the number of codes to draw.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from anytime_core.capture import Captured, Pool, capture, warm_up
from anytime_core.priors.base import CausalPrior
from anytime_core.priors.shaping import Shaping
from anytime_core.priors.stepping import WAY_OUT, CapturedEngine
from anytime_core.sampling.guidance import GuidedStepper
from anytime_core.sampling.noise import GivenNoise, Noise
from anytime_core.sampling.steps import drawing, steps

_CHUNK = 8
"""Codes per graph; drawing can be stopped between two graphs."""


@dataclass(frozen=True)
class _Shape:
    batch: int
    length: int
    shaping: Shaping
    guidance: float


class CapturedLoops:
    """The captured loops of one engine. One batch uses a loop at a time, and the next batch of its shape uses it again.

    Args:
        engine: the engine, whose steppers can be captured.
        prior: the prior that it runs.
    """

    def __init__(self, engine: CapturedEngine, prior: CausalPrior) -> None:
        self.engine, self.prior = engine, prior
        self._pool: Pool[_Loop] = Pool()

    @torch.inference_mode()
    def prefixes(
        self, labels: Tensor | None, noise: Noise, length: int, shaping: Shaping, guidance: float
    ) -> Iterator[Tensor]:
        """Yield codes [B, 8], [B, 16], ... up to [B, n], one after every graph; the GPU may still be computing them."""
        whole = noise.whole()
        shape = _Shape(len(whole), length, shaping, guidance)
        labels = labels if guidance == 1 else self.prior.with_null_labels(labels)
        loop = self._pool.take(shape)
        if loop is None:
            loop = _Loop(self.engine, self.prior, labels, whole, shape)
        try:
            yield from loop.replay(labels, whole)
        finally:
            self._pool.give_back(shape, loop)


class _Loop:
    """The graphs of one shape and the buffers that they read and write."""

    def __init__(
        self, engine: CapturedEngine, prior: CausalPrior, labels: Tensor | None, noise: Tensor, shape: _Shape
    ) -> None:
        rows = shape.batch if shape.guidance == 1 else 2 * shape.batch
        self.noise, length = noise.clone(), shape.length
        self.stepper = engine.open(labels, rows, length)
        guided = GuidedStepper(self.stepper, prior.distribution, shape.batch, shape.guidance)
        self.led = self.stepper if shape.guidance == 1 else guided
        self.choose = drawing(prior.distribution, GivenNoise(self.noise), shape.shaping)
        self.codes = torch.zeros(length, shape.batch, dtype=torch.int64, device=noise.device)
        self.ends = [min(first + _CHUNK, length) for first in range(0, length, _CHUNK)]
        device, what = noise.device, f"{length} codes of a batch of {shape.batch}"
        warm_up(lambda: self._steps(range(length)), device)
        self.graphs: list[Captured[None]] = [
            capture(partial(self._steps, range(first, end)), device, what=what, way_out=WAY_OUT)
            for first, end in zip([0, *self.ends], self.ends, strict=False)
        ]

    def _steps(self, positions: range) -> None:
        before = self.codes[positions.start - 1] if positions.start else None
        for position, codes in zip(positions, steps(self.led, positions, self.choose, before), strict=True):
            self.codes[position] = codes

    def replay(self, labels: Tensor | None, noise: Tensor) -> Iterator[Tensor]:
        self.stepper.restart(labels)
        self.noise.copy_(noise)
        for end, graph in zip(self.ends, self.graphs, strict=True):
            graph.replay()
            yield self.codes[:end].T.clone()  # the next batch of this shape overwrites the buffer
