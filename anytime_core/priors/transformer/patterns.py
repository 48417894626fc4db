"""Attention patterns: which positions up to its own a layer attends to from each position.

Position t is where code t is predicted. Its input holds code t - 1, and at position 0 the label. Patterns are laid on
these positions, so that rows of a grid are rows of the codes that are predicted: whoever attends to position j learns
of code j - 1 and, from the second layer on, of what position j has attended to. Every position attends to itself.

n is the number of positions, l the block, c the summary, H the number of heads, G that of key-value heads, and E the
size of a head.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

PatternName = Literal["full", "local", "strided", "fixed"]

_PARTS_FROM, _BLOCKS_FROM = 128, 4
"""Positions and blocks from which attention part by part is faster than attention to all positions with a mask."""


class Pattern(ABC):
    """The pattern of a layer."""

    @abstractmethod
    def sees(self, query: Tensor, key: Tensor) -> Tensor:
        """Whether the position `query` attends to `key`, which is not after it; they broadcast."""

    @abstractmethod
    def places(self, length: int) -> NDArray[np.int64]:
        """Where keys and values are kept of `length` positions that come one after another, [n, 2].

        A position writes its own at the second place of its row, and attends to all from the first to the second. So
        what a position attends to lies in one piece.
        """

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, dropout: float = 0.0) -> Tensor:
        """All positions at once: [B, H, n, E], [B, G, n, E] twice -> [B, H, n, E]."""
        index = torch.arange(queries.shape[2], device=queries.device)
        query, key = index.unsqueeze(1), index
        return _attended(queries, keys, values, dropout, mask=(key <= query) & self.sees(query, key))


@dataclass(frozen=True)
class Full(Pattern):
    """All positions."""

    def sees(self, query: Tensor, key: Tensor) -> Tensor:
        """See `Pattern`."""
        return key <= query

    def places(self, length: int) -> NDArray[np.int64]:
        """See `Pattern`."""
        last = np.arange(length)
        return _pairs(np.zeros_like(last), last)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, dropout: float = 0.0) -> Tensor:
        """See `Pattern`."""
        return _attended(queries, keys, values, dropout)


@dataclass(frozen=True)
class _Near(Pattern):
    """Positions of which none is before the block that precedes the query's."""

    block: int

    def places(self, length: int) -> NDArray[np.int64]:
        """See `Pattern`."""
        last = np.arange(length)
        return _pairs(np.maximum(self.first(last), 0), last)

    @abstractmethod
    def first(self, query: NDArray[np.int64]) -> NDArray[np.int64]:
        """The first position that it attends to, if not negative; it attends to all from there."""

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, dropout: float = 0.0) -> Tensor:
        """See `Pattern`."""
        batch, _, length, _ = queries.shape
        if length <= self.block:
            return _attended(queries, keys, values, dropout)
        if not _pays(length, self.block):
            return super().attend(queries, keys, values, dropout)
        own, *shared = (_blocks(part, self.block) for part in (queries, keys, values))
        # The block before is that of the row before; the first block of a sequence does not look at it.
        keys, values = (torch.cat([part.roll(1, 0), part], 2) for part in shared)  # [B n / l, G, 2 l, E]
        query = torch.arange(-(-length // self.block) * self.block, device=own.device).view(-1, 1, self.block, 1)
        key = query[:, :, :1] + torch.arange(-self.block, self.block, device=own.device)
        mask = (key >= 0) & (key <= query) & self.sees(query, key)  # [n / l, 1, l, 2 l]
        attended = _attended(own, keys, values, dropout, mask=mask.repeat(batch, 1, 1, 1))
        return _joined(attended, batch, length)


@dataclass(frozen=True)
class Local(_Near):
    """The query's block and the one before it (Image Transformer, Parmar et al. 2018, 1-D local attention)."""

    def sees(self, query: Tensor, key: Tensor) -> Tensor:
        """See `Pattern`."""
        return key // self.block >= query // self.block - 1

    def first(self, query: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `_Near`."""
        return (query // self.block - 1) * self.block


@dataclass(frozen=True)
class Recent(_Near):
    """The last l positions, which hold the last l codes (the first strided pattern of Child et al. 2019)."""

    def sees(self, query: Tensor, key: Tensor) -> Tensor:
        """See `Pattern`."""
        return query - key < self.block

    def first(self, query: NDArray[np.int64]) -> NDArray[np.int64]:
        """See `_Near`."""
        return query - self.block + 1


@dataclass(frozen=True)
class Column(Pattern):
    """Every l-th position before the query's (the second strided pattern of Child et al. 2019)."""

    block: int

    def sees(self, query: Tensor, key: Tensor) -> Tensor:
        """See `Pattern`."""
        return (query - key) % self.block == 0

    def places(self, length: int) -> NDArray[np.int64]:
        """See `Pattern`: columns lie one after another."""
        position, rows = np.arange(length), -(-length // self.block)
        first = position % self.block * rows
        return _pairs(first, first + position // self.block)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, dropout: float = 0.0) -> Tensor:
        """See `Pattern`."""
        batch, _, length, _ = queries.shape
        if not _pays(length, self.block):
            return super().attend(queries, keys, values, dropout)
        queries, keys, values = (_columns(part, self.block) for part in (queries, keys, values))
        attended = _attended(queries, keys, values, dropout)  # [B l, H, n / l, E]
        return attended.unflatten(0, (batch, -1)).permute(0, 2, 3, 1, 4).flatten(2, 3)[:, :, :length]


@dataclass(frozen=True)
class Block(Pattern):
    """The query's block (the first fixed pattern of Child et al. 2019)."""

    block: int

    def sees(self, query: Tensor, key: Tensor) -> Tensor:
        """See `Pattern`."""
        return key // self.block == query // self.block

    def places(self, length: int) -> NDArray[np.int64]:
        """See `Pattern`."""
        last = np.arange(length)
        return _pairs(last // self.block * self.block, last)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, dropout: float = 0.0) -> Tensor:
        """See `Pattern`."""
        batch, _, length, _ = queries.shape
        if not _pays(length, self.block):
            return super().attend(queries, keys, values, dropout)
        queries, keys, values = (_blocks(part, self.block) for part in (queries, keys, values))
        return _joined(_attended(queries, keys, values, dropout), batch, length)


@dataclass(frozen=True)
class Summaries(Pattern):
    """The last c positions of each block, and the query's own (the second fixed pattern of Child et al. 2019)."""

    block: int
    summary: int

    def sees(self, query: Tensor, key: Tensor) -> Tensor:
        """See `Pattern`."""
        return (key % self.block >= self.block - self.summary) | (key == query)

    def places(self, length: int) -> NDArray[np.int64]:
        """See `Pattern`: what no later position attends to is overwritten by the next one."""
        summarises = np.arange(length) % self.block >= self.block - self.summary
        last: NDArray[np.int64] = np.cumsum(summarises) - summarises
        return _pairs(np.zeros_like(last), last)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, dropout: float = 0.0) -> Tensor:
        """See `Pattern`."""
        batch, _, length, _ = queries.shape
        if not _pays(length, self.block):
            return super().attend(queries, keys, values, dropout)
        own = _blocks(queries, self.block)
        keys, values = (self._summaries_and_own(part) for part in (keys, values))
        index = torch.arange(-(-length // self.block) * self.block, device=own.device).view(-1, 1, self.block, 1)
        query, key = index, index.mT
        before = index[:, 0, -self.summary :].flatten() < query[:, :, :1]  # [n / l, 1, 1, n c / l]
        inside = (key <= query) & self.sees(query, key)  # [n / l, 1, l, l]
        mask = torch.cat([before.expand(-1, -1, self.block, -1), inside], -1)
        return _joined(_attended(own, keys, values, dropout, mask=mask.repeat(batch, 1, 1, 1)), batch, length)

    def _summaries_and_own(self, x: Tensor) -> Tensor:
        """[B, heads, n, E] -> [B n / l, heads, n c / l + l, E]."""
        rows = _rows(x, self.block)
        summaries = rows[:, :, :, -self.summary :].flatten(2, 3).unsqueeze(2)
        every = summaries.expand(-1, -1, rows.shape[2], -1, -1)
        return torch.cat([every, rows], 3).transpose(1, 2).flatten(0, 1)


def patterns(name: PatternName, layers: int, block: int, summary: int) -> tuple[Pattern, ...]:
    """The pattern of each layer; those of Child et al. take turns.

    Args:
        name: what `attention` says.
        layers: how many.
        block: l.
        summary: c, at most l.
    """
    turns: dict[PatternName, tuple[Pattern, ...]] = {
        "full": (Full(),),
        "local": (Local(block),),
        "strided": (Recent(block), Column(block)),
        "fixed": (Block(block), Summaries(block, summary)),
    }
    return tuple(turns[name][layer % len(turns[name])] for layer in range(layers))


def places_of(layers: Sequence[Pattern], length: int) -> NDArray[np.int64]:
    """The places of all layers, [layers, n, 2], see `Pattern.places`."""
    made = {pattern: pattern.places(length) for pattern in layers}
    return np.stack([made[pattern] for pattern in layers])


def slots_of(places: NDArray[np.int64]) -> int:
    """How many keys of a layer are kept for all `places`."""
    return int(places.max()) + 1


def _pairs(first: NDArray[np.int64], last: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.stack([first, last], 1)


def _pays(length: int, block: int) -> bool:
    """Whether attention part by part is faster than with a mask."""
    return length >= max(_PARTS_FROM, _BLOCKS_FROM * block)


def _attended(queries: Tensor, keys: Tensor, values: Tensor, dropout: float, mask: Tensor | None = None) -> Tensor:
    """Attention where `mask` is true; None: to positions up to the query's own."""
    grouped = keys.shape[1] < queries.shape[1]
    return F.scaled_dot_product_attention(
        queries, keys, values, attn_mask=mask, dropout_p=dropout, is_causal=mask is None, enable_gqa=grouped
    )


def _rows(x: Tensor, block: int) -> Tensor:
    """[B, heads, n, E] -> [B, heads, n / l, l, E], with zeros after the last position."""
    return F.pad(x, (0, 0, 0, -x.shape[2] % block)).unflatten(2, (-1, block))


def _blocks(x: Tensor, block: int) -> Tensor:
    """[B, heads, n, E] -> [B n / l, heads, l, E]."""
    return _rows(x, block).transpose(1, 2).flatten(0, 1)


def _joined(x: Tensor, batch: int, length: int) -> Tensor:
    """[B n / l, heads, l, E] -> [B, heads, n, E]."""
    return x.unflatten(0, (batch, -1)).transpose(1, 2).flatten(2, 3)[:, :, :length]


def _columns(x: Tensor, block: int) -> Tensor:
    """[B, heads, n, E] -> [B l, heads, n / l, E]."""
    return _rows(x, block).permute(0, 3, 1, 2, 4).flatten(0, 1)
