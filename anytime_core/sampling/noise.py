"""Noise that codes are drawn with. It belongs to a sample's global index: batching and sharding change no sample.

Each number follows from the seed, the sample's index, the position of the code and which of the code's numbers it is.
So any of them can be had at any time, on the device where it is used, and noise for n codes is the beginning of the
noise for more of them.

Letters: B batch, n codes, G numbers that the draw of a code takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from anytime_core.priors.heads import NoiseNeed
from anytime_core.sampling.philox import WORDS, NumpyWords, TorchWords, Words, keys

_NUMBERS = 2 * WORDS
"""Numbers of 32 bits that a block of words gives."""
_AT_ONCE = {"cpu": 2**16, "cuda": 2**24}
"""Numbers that are made at a time, which takes some 40 bytes each beside the result."""
_ROW = 2**12
"""Numbers of a sample that are worth asking its stream for on the CPU."""


class Noise(Protocol):
    """Noise of a batch.

    Attributes:
        shape: (B, n, G).
        device: where it is used.
    """

    shape: tuple[int, int, int]
    device: torch.device

    def at(self, position: int) -> Tensor:
        """[B, G] float32 of the code at `position`."""
        ...

    def whole(self) -> Tensor:
        """[B, n, G] float32."""
        ...


def noise_of(
    seed: int, indices: Sequence[int], length: int, need: NoiseNeed, device: torch.device | None = None
) -> Noise:
    """The noise of a batch.

    Args:
        seed: of the call, 0..2^64 - 1.
        indices: B global sample indices.
        length: n.
        need: what the draw of a code takes.
        device: where it is used; None: the CPU.
    """
    return _CountedNoise(seed, indices, length, need, device or torch.device("cpu"))


class _CountedNoise:
    """See `Noise`. Made a few codes at a time, so that the first code does not wait for the noise of the last."""

    def __init__(self, seed: int, indices: Sequence[int], length: int, need: NoiseNeed, device: torch.device) -> None:
        self.shape, self.device = (len(indices), length, need.numbers), device
        made_on = device if device.type == "cuda" else torch.device("cpu")  # others may know no float64
        self._cpu, self._limit = made_on.type == "cpu", _AT_ONCE[made_on.type]
        self._of_bits = _OF_BITS[need.kind]
        self._blocks = -(-need.numbers // _NUMBERS)
        streams = keys(seed, indices)
        self._words: Words = NumpyWords(streams) if self._cpu else TorchWords(streams, made_on)
        self._first, self._chunk = 0, torch.empty(len(indices), 0, need.numbers)

    def at(self, position: int) -> Tensor:
        """See `Noise`."""
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

    def _codes_at(self, position: int) -> int:
        """How many codes' noise is made together from `position` on."""
        batch, length, numbers = self.shape
        if self._cpu and position == 0:
            return min(1, length)
        together = max(self._limit // max(batch, 1), _ROW if self._cpu else 0) // numbers
        return min(max(together, 1), length - position)

    def _made(self, position: int, codes: int) -> Tensor:
        """[B, codes, G]."""
        batch, _, numbers = self.shape
        result = torch.empty(batch, codes, numbers, device=self.device)
        rows = max(1, self._limit // (codes * numbers))
        for start in range(0, batch, rows):
            part = slice(start, start + rows)
            bits = self._words.take(part, position * self._blocks, codes * self._blocks).view(torch.int32)
            # int32 counts from -2^31. Numbers of 33 bits are never 0 or 1, and what follows from them in float64 is the
            # same float32 on every machine, though logarithms differ in the last bit.
            uniform = bits.view(len(bits), codes, -1)[..., :numbers].double().add_(2**31 + 0.5).mul_(2.0**-32)
            result[part] = self._of_bits(uniform)
        return result


def _gumbel(uniform: Tensor) -> Tensor:
    """-log(-log(1 - u)); torch's log1p is the faster logarithm."""
    return uniform.neg_().log1p_().add_(1).neg_().log1p_().neg_()


def _uniform(uniform: Tensor) -> Tensor:
    """In (0, 1), also as float32: in the middle of 2^23 parts of it."""
    return uniform.mul_(2**23).floor_().add_(0.5).mul_(2.0**-23)


_OF_BITS: dict[str, Callable[[Tensor], Tensor]] = {
    "gumbel": _gumbel,
    "uniform": _uniform,
    "normal": torch.special.ndtri,
}
"""From numbers in (0, 1), which may be overwritten, to those of each kind."""


class GivenNoise:
    """See `Noise`: noise [B, n, G] that the caller has."""

    def __init__(self, noise: Tensor) -> None:
        self._noise, self.device = noise, noise.device
        batch, length, size = noise.shape
        self.shape = (batch, length, size)

    def at(self, position: int) -> Tensor:
        """See `Noise`."""
        return self._noise[:, position]

    def whole(self) -> Tensor:
        """See `Noise`."""
        return self._noise
