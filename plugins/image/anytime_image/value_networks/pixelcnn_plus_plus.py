"""PixelCNN++ (Salimans et al., "PixelCNN++: Improving the PixelCNN with Discretized Logistic Mixture Likelihood and
Other Modifications", ICLR 2017, sections 2.2 to 2.4).

[C, R, S] are colours, rows and columns, E is how many numbers stand for a value, Q the number of channels of the
condition, W the number of channels of a stream, and F how many features of a value there are.
"""

from __future__ import annotations

from functools import partial
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anytime_core.value_networks import ValueGrid
from anytime_image.value_networks.sections import PixelCNNPlusPlusConfig
from anytime_image.value_networks.shifted import (
    ColourFeatures,
    DownConvolution,
    DownRightConvolution,
    GatedBlock,
    shifted,
    started,
)

Streams = tuple[Tensor, Tensor]
"""What is known of the rows above, and of those and what is to the left, each [B, W, R, S]."""


class PixelCNNPlusPlus(nn.Module):
    """See `ValueNetwork`. Two streams go down through halved resolutions and up again, with short-cuts between them.

    A cell of a lower resolution stands for four of the higher, and knows only what is before the first of them.

    Args:
        config: sizes and dropout.
        grid: what it is for.
    """

    def __init__(self, config: PixelCNNPlusPlusConfig, grid: ValueGrid) -> None:
        super().__init__()
        width, inputs = config.width, grid.channels * grid.inputs + 1
        self.features, self.resolutions = width, config.resolutions
        self.above = DownConvolution(inputs, width)
        self.above_first = DownConvolution(inputs, width, rows=1)
        self.left_first = DownRightConvolution(inputs, width, columns=1)
        layers = partial(Layer, width, condition=grid.condition, dropout=config.dropout)
        halved = range(config.resolutions - 1)
        self.down = nn.ModuleList(
            nn.ModuleList(layers() for _ in range(config.blocks)) for _ in range(config.resolutions)
        )
        self.halvings = nn.ModuleList(Halve(width) for _ in halved)
        # Going up, each layer takes what one going down has left. Those after a doubling take that before the halving.
        self.up = nn.ModuleList(
            nn.ModuleList(layers(short_cut=True) for _ in range(config.blocks + (number > 0)))
            for number in range(config.resolutions)
        )
        self.doublings = nn.ModuleList(Double(width) for _ in halved)
        self.output = ColourFeatures(width, grid, width)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """See `ValueNetwork`; rows and columns that cannot be halved are padded below and to the right."""
        rows, columns = x.shape[2:]
        multiple = 2 ** (self.resolutions - 1)
        padding = (0, -columns % multiple, 0, -rows % multiple)
        known = F.pad(torch.cat([x, torch.ones_like(x[:, :1])], 1), padding)  # ones tell the picture from its padding
        told = None if condition is None else F.pad(condition, padding)
        conditions = [
            None if told is None else told[:, :, :: 2**halved, :: 2**halved] for halved in range(self.resolutions)
        ]
        streams = (
            shifted(self.above(known), rows=1),
            shifted(self.above_first(known), rows=1) + shifted(self.left_first(known), columns=1),
        )
        left = [streams]
        for number, layers in enumerate(self.down):
            for layer in cast(nn.ModuleList, layers):
                streams = layer(streams, conditions[number])
                left.append(streams)
            if number < len(self.halvings):
                streams = self.halvings[number](streams)
                left.append(streams)
        streams = left.pop()
        for number, layers in enumerate(self.up):
            for layer in cast(nn.ModuleList, layers):
                streams = layer(streams, conditions[-1 - number], left.pop())
            if number < len(self.doublings):
                streams = self.doublings[number](streams)
        return self.output(streams[1][:, :, :rows, :columns], x)


class Layer(nn.Module):
    """A gated block of each stream; that of the left sees that of the rows above.

    Args:
        width: W.
        condition: Q.
        dropout: in blocks.
        short_cut: whether it is also given the streams of an earlier layer.
    """

    def __init__(self, width: int, *, condition: int, dropout: float, short_cut: bool = False) -> None:
        super().__init__()
        block = partial(GatedBlock, width, condition=condition, dropout=dropout)
        self.above = block(DownConvolution, beside=width if short_cut else 0)
        self.left = block(DownRightConvolution, beside=2 * width if short_cut else width)

    def forward(self, streams: Streams, condition: Tensor | None, short_cut: Streams | None = None) -> Streams:
        """Streams, a condition [B, Q, R, S] and streams of an earlier layer -> streams."""
        above, left = streams
        if short_cut is None:
            above = self.above(above, None, condition)
            return above, self.left(left, above, condition)
        above = self.above(above, short_cut[0], condition)
        return above, self.left(left, torch.cat([above, short_cut[1]], 1), condition)


class Halve(nn.Module):
    """Streams at half the resolution.

    Args:
        width: W.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.above = DownConvolution(width, width, stride=2)
        self.left = DownRightConvolution(width, width, stride=2)

    def forward(self, streams: Streams) -> Streams:
        """[B, W, R, S] -> [B, W, R / 2, S / 2], each."""
        return self.above(streams[0]), self.left(streams[1])


class Double(nn.Module):
    """Streams at twice the resolution: a cell gives to its own four cells, and above also to those beside them.

    Args:
        width: W.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        above = nn.ConvTranspose2d(width, width, (2, 3), 2, padding=(0, 1), output_padding=(0, 1))
        self.above = started(above, 1.5 * width)  # a cell is in reach of one or two of the lower resolution
        self.left = started(nn.ConvTranspose2d(width, width, 2, 2), width)

    def forward(self, streams: Streams) -> Streams:
        """[B, W, R, S] -> [B, W, 2 R, 2 S], each."""
        return self.above(streams[0]), self.left(streams[1])
