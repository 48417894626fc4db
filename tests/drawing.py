"""What tests of priors share: what codes are, and drawing from an engine without a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from anytime_core.priors.heads import NoiseNeed
from anytime_core.priors.shaping import Shaping
from anytime_core.priors.stepping import CapturedEngine, Engine, Position
from anytime_core.quantizers.base import CodeSpec
from anytime_core.run import Run
from anytime_core.sampling.captured import CapturedLoops
from anytime_core.sampling.choices import Drawing
from anytime_core.sampling.noise import _OF_BITS, Noise, noise_of
from anytime_core.sampling.philox import TorchWords, keys
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


class KeyedNoise:
    """Static noise that is made of keys and a position in memory, as kernels make it, by torch's operators."""

    def __init__(self, keys: Tensor, length: int, need: NoiseNeed) -> None:
        self.shape, self.device, self.need = (len(keys), length, need.numbers), keys.device, need
        self.key = (len(keys), need)
        self.words = TorchWords(keys.numpy().view(np.uint64), keys.device)
        self.words._keys = keys
        self.tensors = (keys,)

    def at(self, position: Position) -> Tensor:
        numbers = self.need.numbers
        blocks = -(-numbers // 8)
        bits = self.words.take(slice(None), position * blocks, blocks).view(torch.int32)[:, :numbers]
        return _OF_BITS[self.need.kind](bits.double().add_(2**31 + 0.5).mul_(2.0**-32)).float()

    def whole(self) -> Tensor:
        return torch.stack([self.at(position) for position in range(self.shape[1])], 1)

    def largest_sum(self, position: Position, logits: Tensor) -> Tensor:
        return (logits + self.at(position)).argmax(-1)

    def static(self) -> KeyedNoise:
        return KeyedNoise(self.words._keys.clone(), self.shape[1], self.need)


def keyed_noise(
    seed: int, indices: Sequence[int], length: int, need: NoiseNeed, device: torch.device | None = None
) -> KeyedNoise:
    """See `noise_of`."""
    return KeyedNoise(torch.from_numpy(keys(seed, indices).view(np.int64)), length, need)
