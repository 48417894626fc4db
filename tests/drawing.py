"""What tests of priors share: what codes are, and drawing from an engine without a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NoReturn

import torch
from torch import Tensor

from anytime_core.priors.heads import NoiseNeed
from anytime_core.priors.shaping import Shaping
from anytime_core.priors.stepping import CapturedEngine, Engine
from anytime_core.quantizers.base import CodeSpec
from anytime_core.run import Run
from anytime_core.sampling.captured import CapturedLoops
from anytime_core.sampling.choices import Choice, Drawing
from anytime_core.sampling.noise import Noise, noise_of
from anytime_core.sampling.steps import open_stepper, prefixes


def codes_of(
    length: int, size: int, *, classes: int = 0, dim: int = 5, radices: tuple[int, ...] | None = None
) -> CodeSpec:
    """Codes on a line of cells."""
    return CodeSpec(length=length, size=size, dim=dim, grid=(length,), radices=radices, classes=classes)


def gumbel(seed: int, indices: Sequence[int], length: int, size: int) -> Noise:
    """Noise for codes of `size` values."""
    return noise_of(seed, indices, length, NoiseNeed("gumbel", size))


def draw_from(
    engine: Engine, labels: Tensor | None, noise: Noise, shaping: Shaping | None = None, guidance: float = 1.0
) -> Iterator[Tensor]:
    """Growing prefixes of a batch."""
    prior, shaping = engine.prior, shaping or Shaping()
    batch, length = noise.shape[:2]
    if isinstance(engine, CapturedEngine):
        choice = Drawing(prior.distribution, noise.static(), shaping)
        return CapturedLoops(engine, prior).prefixes(labels, batch, length, choice, guidance)
    stepper = open_stepper(engine, prior, labels, batch, length, guidance)
    return prefixes(stepper, batch, length, Drawing(prior.distribution, noise, shaping), noise.device)


def use_engine(run: Run, name: str, engine: object) -> None:
    """Have a run draw with this engine when it is asked for the one called `name`."""
    run._source.engines._made[name, "float32"] = engine


class Chunks(CapturedEngine):
    """Draws four zeros at once, as CUDA graphs draw several codes."""

    name = "chunks"

    def __init__(self, run: Run) -> None:
        super().__init__(run.require_prior())
        run._source.loops[self] = self

    def open(self, labels: Tensor | None, batch: int, length: int) -> NoReturn:
        raise AssertionError("its steps are captured")

    def prefixes(
        self, labels: Tensor | None, batch: int, length: int, choice: Choice, guidance: float
    ) -> Iterator[Tensor]:
        for end in range(4, length + 1, 4):
            yield torch.zeros(batch, end, dtype=torch.int64)
