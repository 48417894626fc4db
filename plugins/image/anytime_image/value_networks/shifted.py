"""What networks of shifted streams share: convolutions that see only what is above and to the left, gated blocks of
them, and features of the colours of a pixel.

Instead of masks, inputs are padded above and to the left, and kernels lie there as a whole. A stream that starts one
row or one column late then sees nothing from its own cell on.

[C, R, S] are colours, rows and columns, E is how many numbers stand for a value, Q the number of channels of the
condition, W the number of channels of a stream, and F how many features of a value there are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anytime_core.value_networks import ValueGrid

Convolution = TypeVar("Convolution", nn.Conv2d, nn.ConvTranspose2d)

_FIRST_SCALE = 0.1
"""Of what a block adds at first, so that streams keep their scale at any depth; as in the authors' code."""


def concatenated_elu(x: Tensor) -> Tensor:
    """elu of x and of -x, one after the other in the channels: [B, W, R, S] -> [B, 2 W, R, S]."""
    return F.elu(torch.cat([x, -x], 1))


def started(convolution: Convolution, inputs: float) -> Convolution:
    """The convolution with first weights by which outputs have the scale of inputs.

    The paper normalises weights by the data for that. Streams through several resolutions learn slowly without it.

    Args:
        convolution: it.
        inputs: how many numbers an output is a sum of.
    """
    nn.init.normal_(convolution.weight, std=inputs**-0.5)
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    return convolution


def shifted(x: Tensor, rows: int = 0, columns: int = 0) -> Tensor:
    """What is `rows` above and `columns` to the left, [B, W, R, S]; zeros where nothing is."""
    return F.pad(x, (columns, 0, rows, 0))[:, :, : x.shape[2], : x.shape[3]]


class DownConvolution(nn.Module):
    """A convolution that sees its own row, those above, and columns to the left and right.

    Args:
        inputs: channels.
        outputs: channels.
        rows: of the kernel; the lowest is the cell's own.
        columns: of the kernel, odd; the cell's own is in the middle.
        stride: in both directions.
    """

    def __init__(self, inputs: int, outputs: int, rows: int = 2, columns: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.padding = (columns // 2, columns // 2, rows - 1, 0)
        self.convolution = started(nn.Conv2d(inputs, outputs, (rows, columns), stride), inputs * rows * columns)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, R, S] -> [B, outputs, R / stride, S / stride]."""
        return self.convolution(F.pad(x, self.padding))


class DownRightConvolution(nn.Module):
    """A convolution that sees its own row, those above, and columns to the left.

    Args:
        inputs: channels.
        outputs: channels.
        rows: of the kernel; the lowest is the cell's own.
        columns: of the kernel; the rightmost is the cell's own.
        stride: in both directions.
    """

    def __init__(self, inputs: int, outputs: int, rows: int = 2, columns: int = 2, stride: int = 1) -> None:
        super().__init__()
        self.padding = (columns - 1, 0, rows - 1, 0)
        self.convolution = started(nn.Conv2d(inputs, outputs, (rows, columns), stride), inputs * rows * columns)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, R, S] -> [B, outputs, R / stride, S / stride]."""
        return self.convolution(F.pad(x, self.padding))


def pointwise(inputs: int, outputs: int) -> nn.Conv2d:
    """A convolution that sees its own cell only."""
    return started(nn.Conv2d(inputs, outputs, 1), inputs)


class GatedBlock(nn.Module):
    """A gated residual block (Salimans et al. 2017, figure 3): x + a sigmoid(b), of two convolutions of x.

    Args:
        width: W.
        convolution: makes a convolution of so many inputs and outputs, which decides what is seen.
        beside: channels of a further input; 0: there is none.
        condition: Q.
        dropout: between the two convolutions.
    """

    def __init__(
        self,
        width: int,
        convolution: Callable[[int, int], nn.Module],
        *,
        beside: int = 0,
        condition: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.first = convolution(2 * width, width)
        self.beside = pointwise(2 * beside, width) if beside else None
        self.condition = pointwise(condition, 2 * width) if condition else None
        self.dropout = nn.Dropout(dropout)
        self.second = convolution(2 * width, 2 * width)
        with torch.no_grad():
            for module in (self.second, self.condition or nn.Identity()):
                for weights in module.parameters():
                    weights.mul_(_FIRST_SCALE)

    def forward(self, x: Tensor, beside: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        """[B, W, R, S], [B, beside, R, S] and [B, Q, R, S] -> [B, W, R, S]."""
        hidden = self.first(concatenated_elu(x))
        if self.beside is not None and beside is not None:
            hidden = hidden + self.beside(concatenated_elu(beside))
        hidden = self.second(self.dropout(concatenated_elu(hidden)))
        if self.condition is not None and condition is not None:
            hidden = hidden + self.condition(condition)
        values, gates = hidden.chunk(2, 1)
        return x + values * gates.sigmoid()


class ColourFeatures(nn.Module):
    """Features of each colour of a pixel, of a stream that knows earlier pixels and of earlier colours of its own.

    The papers make one mixture of distributions for a whole pixel, and let each colour follow the earlier ones by the
    mixture's posterior and linear shifts of its means. Here a layer sees them, which any distribution can be made of.

    Args:
        width: W.
        grid: C and E.
        features: F.
    """

    mask: Tensor

    def __init__(self, width: int, grid: ValueGrid, features: int) -> None:
        super().__init__()
        self.of_stream = pointwise(2 * width, grid.channels * features)
        self.of_colours: nn.Parameter | None = None
        if grid.channels > 1:
            self.of_colours = nn.Parameter(torch.empty(grid.channels * features, grid.channels * grid.inputs))
            nn.init.normal_(self.of_colours, std=(grid.channels * grid.inputs) ** -0.5)
            before = torch.ones(grid.channels, grid.channels).tril(-1)  # [C, C]: of colour, colours before it
            mask = before.repeat_interleave(features, 0).repeat_interleave(grid.inputs, 1)
            self.register_buffer("mask", mask, persistent=False)

    def forward(self, stream: Tensor, x: Tensor) -> Tensor:
        """[B, W, R, S] and values [B, C * E, R, S] -> [B, C * F, R, S]."""
        hidden = self.of_stream(concatenated_elu(stream))
        if self.of_colours is not None:
            hidden = hidden + F.conv2d(x, (self.of_colours * self.mask)[:, :, None, None])
        return F.elu(hidden)
