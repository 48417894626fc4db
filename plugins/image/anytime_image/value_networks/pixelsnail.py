"""PixelSNAIL (Chen et al., "PixelSNAIL: An Improved Autoregressive Generative Model", ICML 2018).

[C, R, S] are colours, rows and columns, E is how many numbers stand for a value, Q the number of channels of the
condition, W the number of channels of the stream, and F how many features of a value there are.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anytime_core.value_networks import ValueGrid
from anytime_image.value_networks.sections import PixelSNAILConfig
from anytime_image.value_networks.shifted import (
    ColourFeatures,
    DownConvolution,
    DownRightConvolution,
    GatedBlock,
    pointwise,
    shifted,
)


class PixelSNAIL(nn.Module):
    """See `ValueNetwork`. Gated convolutions of what is near, and attention to all earlier pixels, in turn.

    Args:
        config: sizes and dropout.
        grid: what it is for.
    """

    def __init__(self, config: PixelSNAILConfig, grid: ValueGrid) -> None:
        super().__init__()
        width, inputs = config.width, grid.channels * grid.inputs + 1
        self.features, self.shape = width, grid.shape
        self.above_first = DownConvolution(inputs, width, rows=1)
        self.left_first = DownRightConvolution(inputs, width, columns=1)
        self.blocks = nn.ModuleList(Block(config, grid) for _ in range(config.blocks))
        self.output = ColourFeatures(width, grid, width)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """See `ValueNetwork`."""
        known = torch.cat([x, torch.ones_like(x[:, :1])], 1)  # ones tell the picture from its padding
        stream = shifted(self.above_first(known), rows=1) + shifted(self.left_first(known), columns=1)
        places = self._places(x)
        for block in self.blocks:
            stream = block(stream, x, places, condition)
        return self.output(stream, x)

    def _places(self, x: Tensor) -> Tensor:
        """The row and the column of each cell, from -0.5 to 0.5 over the whole grid, [B, 2, R, S]."""
        rows, columns = (torch.arange(size, device=x.device, dtype=x.dtype) / size - 0.5 for size in self.shape)
        places = torch.stack(torch.meshgrid(rows[: x.shape[2]], columns, indexing="ij"))
        return places.expand(len(x), -1, -1, -1)


class Block(nn.Module):
    """Gated convolutions, then attention, whose result a gated block of the cell itself merges.

    Args:
        config: sizes and dropout.
        grid: what the network is for.
    """

    def __init__(self, config: PixelSNAILConfig, grid: ValueGrid) -> None:
        super().__init__()
        values = max(1, config.width // 2)
        block = partial(GatedBlock, condition=grid.condition, dropout=config.dropout)
        self.near = nn.ModuleList(block(config.width, DownRightConvolution) for _ in range(config.convolutions))
        self.attention = CausalAttention(
            seen=grid.channels * grid.inputs + config.width + 2,
            asking=config.width + 2,
            keys=config.keys,
            values=values,
            dropout=config.dropout,
        )
        self.merge = block(config.width, pointwise, beside=values)

    def forward(self, stream: Tensor, x: Tensor, places: Tensor, condition: Tensor | None) -> Tensor:
        """[B, W, R, S], values [B, C * E, R, S], places [B, 2, R, S], condition [B, Q, R, S] -> [B, W, R, S]."""
        for block in self.near:
            stream = block(stream, None, condition)
        asking = torch.cat([stream, places], 1)
        return self.merge(stream, self.attention(torch.cat([x, asking], 1), asking), condition)


class CausalAttention(nn.Module):
    """Attention of each cell to all cells before it, never to itself, as what it sees there are the cell's own values.

    There is nothing before the first cell. So all cells also attend to a learned start.

    Args:
        seen: channels that keys and values are made of.
        asking: channels that queries are made of.
        keys: numbers in a key.
        values: numbers in a value.
        dropout: in the blocks that queries, keys and values are made by.
    """

    def __init__(self, *, seen: int, asking: int, keys: int, values: int, dropout: float) -> None:
        super().__init__()
        self.keys, self.values = keys, values
        self.seen = nn.Sequential(GatedBlock(seen, pointwise, dropout=dropout), pointwise(seen, keys + values))
        self.asking = nn.Sequential(GatedBlock(asking, pointwise, dropout=dropout), pointwise(asking, keys))
        self.start = nn.Parameter(torch.zeros(keys + values))

    def forward(self, seen: Tensor, asking: Tensor) -> Tensor:
        """[B, seen, R, S] and [B, asking, R, S] -> [B, values, R, S]."""
        memory = self.seen(seen).flatten(2).transpose(1, 2)  # [B, cells, keys + values]
        start = self.start.expand(len(memory), 1, -1)
        memory = torch.cat([start, memory[:, :-1]], 1)  # what is last is before no cell
        keys, values = memory.split([self.keys, self.values], -1)
        queries = self.asking(asking).flatten(2).transpose(1, 2)
        size = max(self.keys, self.values)  # kernels that never store all weights want vectors of one size
        q, k, v = (F.pad(part, (0, size - part.shape[-1])).unsqueeze(1) for part in (queries, keys, values))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.keys**-0.5)
        return mixed[:, 0, :, : self.values].transpose(1, 2).unflatten(2, seen.shape[2:])
