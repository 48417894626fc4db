"""The keys and values of a batch that is being drawn, and attention to them, with torch's own operators.

n is the number of codes to draw, W the width, H the number of heads, E = W / H, and G the number of key-value heads.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from anytime_core.priors.transformer.patterns import places_of, slots_of
from anytime_core.priors.transformer.weights import FoldedWeights


class Attention(Protocol):
    """Attention of all layers, with buffers of its own."""

    def attend(self, layer: int, projected: Tensor, position: int) -> Tensor:
        """Queries, keys and values of the code at `position`, [B, W + 2 G E], which join the buffers -> [B, W]."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Go on with only the sequences `rows`."""
        ...


class BatchedAttention:
    """See `Attention`. It reads only what a layer's pattern attends to, and does not attend to one key alone.

    Args:
        weights: the weights of the prior.
        batch: B.
        length: n.
    """

    def __init__(self, weights: FoldedWeights, batch: int, length: int) -> None:
        self.heads = weights.heads
        places = places_of(weights.patterns, length)
        self.places: list[list[tuple[int, int]]] = places.tolist()
        shape = (len(weights.layers), batch, weights.kv_heads, slots_of(places), weights.head_size)
        self.keys, self.values = (weights.positions.new_empty(shape) for _ in range(2))
        self._open_buffers()

    def keep(self, rows: Tensor) -> None:
        """Go on with only the sequences `rows`."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]
        self._open_buffers()

    def _open_buffers(self) -> None:
        _, batch, groups, slots, size = self.keys.shape
        new = self.keys.new_empty
        self.queries, self.attended = (new(batch * groups, self.heads // groups, size) for _ in range(2))
        self.scores = new(batch * self.heads * slots)

    def attend(self, layer: int, projected: Tensor, position: int) -> Tensor:
        """[B, W + 2 G E] -> [B, W]; the heads that share keys and values are the rows of one product."""
        keys, values, heads = self.keys[layer], self.values[layer], self.heads
        (first, last), (batch, groups, slots, size) = self.places[layer][position], keys.shape
        queries, new_keys, new_values = projected.view(batch, -1, size).split((heads, groups, groups), 1)
        keys[:, :, last] = new_keys
        values[:, :, last] = new_values
        if first == last:
            return new_values.unsqueeze(2).expand(-1, -1, heads // groups, -1).reshape(batch, -1)
        self.queries.view(batch, heads, size).copy_(queries)
        keys, values = (buffer.view(-1, slots, size)[:, first : last + 1] for buffer in (keys, values))
        number = last + 1 - first
        scores = self.scores[: batch * heads * number].view(batch * groups, -1, number)
        torch.bmm(self.queries, keys.transpose(1, 2), out=scores)
        torch.softmax(scores, -1, out=scores)
        return torch.bmm(scores, values, out=self.attended).view(batch, -1)
