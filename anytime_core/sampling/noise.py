"""Noise that codes are drawn with. It belongs to a sample's global index, so batching and sharding change no sample.

Each number follows from the seed, the sample's index, the position of the code, and its place among the numbers of the
code. So any number can be made at any time, on the device where it is used, and the noise of n codes is the beginning
of the noise of more codes.

n is the number of codes, G the number of numbers that drawing a code takes.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from anytime_core.priors.heads import NoiseNeed
from anytime_core.priors.stepping import Position
from anytime_core.sampling.philox import WORDS, NumpyWords, TorchWords, Words, keys
from anytime_core.triton_support import runs_triton

_NUMBERS = 2 * WORDS
"""The numbers of 32 bits in a block of words."""
_AT_ONCE = {"cpu": 2**16, "cuda": 2**24}
"""How many numbers are made at a time; each takes some 40 bytes beside the result."""
_ROW = 2**12
"""On the CPU, at least this many numbers of a sample are made at a time, as each call of its stream costs time."""


class Noise(Protocol):
    """The noise of a batch.

    Attributes:
        shape: (B, n, G).
        device: the device where it is used.
    """

    shape: tuple[int, int, int]
    device: torch.device

    def at(self, position: Position) -> Tensor:
        """The noise of the code at `position`, [B, G] float32. Only static noise takes positions on the device."""
        ...

    def whole(self) -> Tensor:
        """All noise, [B, n, G] float32."""
        ...

    def largest_sum(self, position: Position, logits: Tensor) -> Tensor:
        """Where logits [B, G], plus the noise of the code at `position`, are the largest, [B]."""
        ...

    def static(self) -> StaticNoise:
        """The same noise for captured work."""
        ...


@runtime_checkable
class StaticNoise(Noise, Protocol):
    """Noise that captured work can make or read, as it stays in the same tensors from batch to batch.

    Attributes:
        key: noise of the same key differs in what is in its tensors, and in nothing else.
        tensors: what it follows from.
    """

    key: Hashable
    tensors: Sequence[Tensor]


def noise_of(
    seed: int, indices: Sequence[int], length: int, need: NoiseNeed, device: torch.device | None = None
) -> Noise:
    """The noise of a batch.

    Args:
        seed: the seed of the call, in 0..2^64 - 1.
        indices: B global sample indices.
        length: n.
        need: what drawing a code takes.
        device: the device where it is used; None: the CPU.
    """
    device = device or torch.device("cpu")
    if runs_triton(device):
        from anytime_core.sampling.kernel_noise import KernelNoise

        streams = torch.from_numpy(keys(seed, indices).view(np.int64))
        return KernelNoise(streams.to(device), length, need)
    return _CountedNoise(seed, indices, length, need, device)


class _CountedNoise:
    """See `Noise`. It is made for a few codes at a time, so that the first code need not wait for the noise of all."""

    def __init__(self, seed: int, indices: Sequence[int], length: int, need: NoiseNeed, device: torch.device) -> None:
        self.shape, self.device = (len(indices), length, need.numbers), device
        made_on = device if device.type == "cuda" else torch.device("cpu")  # other devices may have no float64
        self._cpu, self._limit = made_on.type == "cpu", _AT_ONCE[made_on.type]
        self._of_bits = _OF_BITS[need.kind]
        self._blocks = -(-need.numbers // _NUMBERS)
        streams = keys(seed, indices)
        self._words: Words = NumpyWords(streams) if self._cpu else TorchWords(streams, made_on)
        self._first, self._chunk = 0, torch.empty(len(indices), 0, need.numbers)

    def at(self, position: Position) -> Tensor:
        """See `Noise`."""
        assert isinstance(position, int)  # as this noise is not static
        if not self._first <= position < self._first + self._chunk.shape[1]:
            self._first, self._chunk = position, self._made(position, self._codes_at(position))
        return self._chunk[:, position - self._first]

    def whole(self) -> Tensor:
        """See `Noise`."""
        batch, length, numbers = self.shape
        result, first = torch.empty(batch, length, numbers, device=self.device), 0
        while first < length:
            codes = self._codes_at(first)
            result[:, first : first + codes] = self._made(first, codes)
            first += codes
        return result

    def largest_sum(self, position: Position, logits: Tensor) -> Tensor:
        """See `Noise`."""
        return (logits + self.at(position)).argmax(-1)

    def static(self) -> StaticNoise:
        """See `Noise`: made before, for all codes."""
        return GivenNoise(self.whole())

    def _codes_at(self, position: int) -> int:
        """For how many codes from `position` on noise is made together."""
        batch, length, numbers = self.shape
        if self._cpu and position == 0:
            return min(1, length)
        together = max(self._limit // max(batch, 1), _ROW if self._cpu else 0) // numbers
        return min(max(together, 1), length - position)

    def _made(self, position: int, codes: int) -> Tensor:
        """Noise of `codes` codes from `position` on, [B, codes, G]."""
        batch, _, numbers = self.shape
        result = torch.empty(batch, codes, numbers, device=self.device)
        rows = max(1, self._limit // (codes * numbers))
        for start in range(0, batch, rows):
            part = slice(start, start + rows)
            bits = self._words.take(part, position * self._blocks, codes * self._blocks).view(torch.int32)
            # int32 counts from -2^31. Numbers of 33 bits are never 0 or 1. Results in float64 round to the same float32
            # on every machine, though logarithms differ in the last bit.
            uniform = bits.view(len(bits), codes, -1)[..., :numbers].double().add_(2**31 + 0.5).mul_(2.0**-32)
            result[part] = self._of_bits(uniform)
        return result


def _gumbel(uniform: Tensor) -> Tensor:
    """-log(-log(1 - u)), with log1p, which is torch's faster logarithm."""
    return uniform.neg_().log1p_().add_(1).neg_().log1p_().neg_()


def _uniform(uniform: Tensor) -> Tensor:
    """Numbers in (0, 1), also as float32: the middles of 2^23 equal parts."""
    return uniform.mul_(2**23).floor_().add_(0.5).mul_(2.0**-23)


_OF_BITS: dict[str, Callable[[Tensor], Tensor]] = {
    "gumbel": _gumbel,
    "uniform": _uniform,
    "normal": torch.special.ndtri,
}
"""Kind of noise -> function from uniform numbers in (0, 1), which it may overwrite."""


class GivenNoise:
    """See `StaticNoise`: noise [B, n, G] from the caller."""

    def __init__(self, noise: Tensor) -> None:
        self._noise, self.device = noise, noise.device
        batch, length, size = noise.shape
        self.shape = (batch, length, size)
        self.key: Hashable = self.shape
        self.tensors: Sequence[Tensor] = (noise,)

    def at(self, position: Position) -> Tensor:
        """See `Noise`."""
        if isinstance(position, int):
            return self._noise[:, position]
        return self._noise.index_select(1, position).squeeze(1)

    def whole(self) -> Tensor:
        """See `Noise`."""
        return self._noise

    def largest_sum(self, position: Position, logits: Tensor) -> Tensor:
        """See `Noise`."""
        return (logits + self.at(position)).argmax(-1)

    def static(self) -> StaticNoise:
        """See `Noise`: a copy, as captured work writes the noise of the next batch into it."""
        return GivenNoise(self._noise.clone())
