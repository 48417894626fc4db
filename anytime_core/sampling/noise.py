"""Noise that codes are drawn with. It belongs to a sample's global index: batching and sharding change no sample.

Letters: B batch, n codes, K codebook size.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from anytime_core.priors.heads import NoiseNeed

_THREADED_FROM = 2**20
"""Numbers from which drawing them in threads pays."""
_CHUNK = 2**12
"""Numbers of a sample that are drawn at a time, after those of its first code."""


class Noise(Protocol):
    """Gumbel noise of a batch.

    Attributes:
        shape: (B, n, K).
        device: where it is used.
    """

    shape: tuple[int, int, int]
    device: torch.device

    def at(self, position: int) -> Tensor:
        """[B, K] of the code at `position`; ask for one after another, from 0."""
        ...

    def whole(self) -> Tensor:
        """[B, n, K]; ask for nothing else then."""
        ...


class GumbelNoise:
    """See `Noise`. Drawn a few codes at a time, so that the first code does not wait for the noise of the last.

    Each sample has its own counter-based stream (Philox) keyed by the seed and the sample's global index; noise for
    n codes is the beginning of the noise for more of them.

    Args:
        seed: of the call.
        indices: B global sample indices.
        length: n.
        codebook_size: K.
        device: where it is used; drawn on the CPU.
    """

    def __init__(
        self,
        seed: int,
        indices: Sequence[int],
        length: int,
        codebook_size: int,
        device: torch.device | None = None,
    ) -> None:
        self.shape = (len(indices), length, codebook_size)
        self.device = device or torch.device("cpu")
        keys = (np.array([seed, index], dtype=np.uint64) for index in indices)
        self._streams = [np.random.Generator(np.random.Philox(key=key)) for key in keys]
        self._first, self._chunk = 0, torch.empty(len(indices), 0, codebook_size)

    def at(self, position: int) -> Tensor:
        """See `Noise`."""
        _, length, size = self.shape
        end = self._first + self._chunk.shape[1]
        if position >= end:
            codes = 1 if position == 0 else min(max(1, _CHUNK // size), length - end)
            self._first, self._chunk = end, self._drawn(codes).to(self.device)
        return self._chunk[:, position - self._first]

    def whole(self) -> Tensor:
        """See `Noise`."""
        return self._drawn(self.shape[1]).to(self.device)

    def _drawn(self, codes: int) -> Tensor:
        """Noise of the next codes, [B, codes, K] float32 on the CPU."""
        batch, _, size = self.shape
        noise = np.empty((batch, codes * size), dtype=np.float32)

        def fill(rows: slice) -> None:
            for row, stream in zip(noise[rows], self._streams[rows], strict=True):
                stream.standard_exponential(dtype=np.float32, out=row)

        if noise.size < _THREADED_FROM:
            fill(slice(None))
        else:
            step = -(-batch // torch.get_num_threads())
            with ThreadPoolExecutor() as threads:
                list(threads.map(fill, [slice(first, first + step) for first in range(0, batch, step)]))
        exponential = torch.from_numpy(noise).clamp_(min=torch.finfo(torch.float32).tiny)
        return exponential.log_().neg_().view(batch, codes, size)


def noise_of(
    seed: int, indices: Sequence[int], length: int, need: NoiseNeed, device: torch.device | None = None
) -> GumbelNoise:
    """The noise of the samples with these global indices, as a head needs it."""
    return GumbelNoise(seed, indices, length, need.numbers, device)


class GivenNoise:
    """See `Noise`: noise [B, n, K] that the caller has."""

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
