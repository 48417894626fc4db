"""Random words that follow from a key and a counter: Philox4x64-10 (Salmon et al., "Parallel random numbers: as easy as
1, 2, 3", 2011). On the CPU numpy makes them, elsewhere torch's integer arithmetic; the words are the same.

B is the number of streams; each has a key of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

WORDS = 4
"""The words of 64 bits in a block, which is what one value of the counter gives."""

_ROUNDS = 10
_MULTIPLIERS = 0xD2E7470EE14C6C93, 0xCA5A826395121157
_KEY_STEPS = 0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B
_LOW = 0xFFFFFFFF


def keys(seed: int, indices: Sequence[int]) -> NDArray[np.uint64]:
    """A key for each of B indices of a seed, [B, 2]; seed and indices are in 0..2^64 - 1."""
    return np.array([(seed, index) for index in indices], dtype=np.uint64).reshape(-1, 2)


class Words(Protocol):
    """B streams of words, with access to any part of them."""

    def take(self, rows: slice, first: int, blocks: int) -> Tensor:
        """The words of `blocks` blocks from `first` on, of the streams `rows`, [rows, WORDS * blocks] int64."""
        ...


class NumpyWords:
    """See `Words`: on the CPU."""

    def __init__(self, keys: NDArray[np.uint64]) -> None:
        self._streams = [np.random.Philox(key=key) for key in keys]
        self._next = [0] * len(keys)

    def take(self, rows: slice, first: int, blocks: int) -> Tensor:
        """See `Words`."""
        chosen = range(*rows.indices(len(self._streams)))
        words = np.empty((len(chosen), WORDS * blocks), dtype=np.uint64)
        for row, index in zip(words, chosen, strict=True):
            stream = self._streams[index]
            if self._next[index] != first:
                stream.advance(first - self._next[index])
            row[:] = stream.random_raw(len(row))
            self._next[index] = first + blocks
        return torch.from_numpy(words.view(np.int64))


class TorchWords:
    """See `Words`: on any device, by about 500 operators per call. Integers are signed, and overflow wraps around."""

    def __init__(self, keys: NDArray[np.uint64], device: torch.device) -> None:
        self._keys = torch.from_numpy(keys.view(np.int64)).to(device)

    def take(self, rows: slice, first: int, blocks: int) -> Tensor:
        """See `Words`."""
        key = list(self._keys[rows].unsqueeze(-1).unbind(1))  # [rows, 1] each
        counter = torch.arange(1, 1 + blocks, device=self._keys.device) + first  # numpy counts before it draws
        x = [counter, *(torch.zeros_like(key[0]) for _ in range(3))]
        for _ in range(_ROUNDS):
            (high0, low0), (high2, low2) = (_product(*pair) for pair in zip(_MULTIPLIERS, x[::2], strict=True))
            x = [high2 ^ x[1] ^ key[0], low2, high0 ^ x[3] ^ key[1], low0]
            key = [part + _signed(step) for part, step in zip(key, _KEY_STEPS, strict=True)]
        return torch.stack(torch.broadcast_tensors(*x), -1).flatten(1)


def _product(constant: int, x: Tensor) -> tuple[Tensor, Tensor]:
    """The high and the low 64 bits of an unsigned product of 128 bits."""
    low, high = constant & _LOW, constant >> 32
    x_low, x_high = x & _LOW, _upper(x)
    first, second = high * x_low, low * x_high
    middle = _upper(low * x_low) + (first & _LOW) + (second & _LOW)
    return high * x_high + _upper(first) + _upper(second) + _upper(middle), _signed(constant) * x


def _upper(x: Tensor) -> Tensor:
    """The upper 32 bits, as an unsigned number."""
    return (x >> 32) & _LOW


def _signed(word: int) -> int:
    return word - 2**64 if word >= 2**63 else word
