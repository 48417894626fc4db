"""PixelCNN (van den Oord et al., "Pixel Recurrent Neural Networks", ICML 2016, section 3.4 and table 1).

B, C, E, F, Q, R and W are those of `anytime_core.value_networks` and of `masked.py`.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as nnf
from torch import Tensor, nn

from anytime_core.value_networks import ValueGrid
from anytime_image.value_networks.masked import (
    MaskedConvolution,
    State,
    SteppedMasked,
    SteppedNetwork,
    channels_last,
    share,
)
from anytime_image.value_networks.sections import PixelCNNConfig


class PixelCNN(nn.Module):
    """A masked convolution of the values, residual blocks, and two convolutions of 1 x 1; see `ValueNetwork`.

    The condition is added before each nonlinearity that follows a convolution of more than one cell.

    Args:
        section: sizes.
        grid: what it is built for.

    Attributes:
        features: F.
    """

    blocks: Any
    last: Any

    def __init__(self, section: PixelCNNConfig, grid: ValueGrid) -> None:
        super().__init__()
        self.features, self.grid = section.features, grid
        colours, width = grid.channels, grid.channels * share(section.width, grid.channels)
        self.width = width
        self.first = MaskedConvolution(
            colours * grid.inputs, 2 * width, colours, kernel=section.first_kernel, mask="A", above=True
        )
        self.blocks = nn.ModuleList(ResidualBlock(width, colours, section.kernel) for _ in range(section.blocks))
        outputs = colours * section.features
        self.last = nn.ModuleList(
            [MaskedConvolution(2 * width, outputs, colours), MaskedConvolution(outputs, outputs, colours)]
        )
        told = width * (2 + section.blocks)
        self.condition = nn.Conv2d(grid.condition, told, 1, bias=False) if grid.condition else None

    def told(self, condition: Tensor | None) -> list[Tensor | None]:
        """What is added to the first convolution, [B, 2 width, R, W], and in each block, [B, width, R, W]."""
        if self.condition is None:
            return [None] * (1 + len(self.blocks))
        return list(self.condition(condition).split([2 * self.width] + [self.width] * len(self.blocks), 1))

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """See `ValueNetwork`."""
        first, *rest = self.told(condition)
        x = plus(channels_last(self.first(x)), first)
        for block, told in zip(self.blocks, rest, strict=True):
            x = block(x, told)
        for convolution in self.last:
            x = convolution(nnf.relu(x))
        return nnf.relu(x)

    def incremental(self) -> SteppedPixelCNN:
        """See `HasIncremental`."""
        return SteppedPixelCNN(self)


class ResidualBlock(nn.Module):
    """Half as many channels, a masked convolution of them, and again as many, which are added to the input.

    Args:
        width: half of the channels of the input.
        colours: C.
        kernel: the side of the convolution.
    """

    def __init__(self, width: int, colours: int, kernel: int) -> None:
        super().__init__()
        self.reduce = MaskedConvolution(2 * width, width, colours)
        self.masked = MaskedConvolution(width, width, colours, kernel=kernel, above=True)
        self.expand = MaskedConvolution(width, 2 * width, colours)

    def forward(self, x: Tensor, told: Tensor | None) -> Tensor:
        """[B, 2 width, R, W] and what is told, [B, width, R, W] -> [B, 2 width, R, W]."""
        hidden = self.masked(nnf.relu(self.reduce(nnf.relu(x))))
        return x + self.expand(nnf.relu(plus(hidden, told)))


def plus(x: Tensor, told: Tensor | None) -> Tensor:
    """The sum."""
    return x if told is None else x + told


class SteppedPixelCNN(SteppedNetwork):
    """PixelCNN, one value after another; see `IncrementalValues`.

    Of each convolution, what it sees of rows above is computed when a row begins, from the rows that are kept.

    Args:
        network: the network.
    """

    def __init__(self, network: PixelCNN) -> None:
        blocks = [SteppedMasked(part) for block in network.blocks for part in block.children()]
        last = [SteppedMasked(convolution) for convolution in network.last]
        self.network, self.blocks, self.others = network, len(network.blocks), [*blocks, *last]
        super().__init__(network.grid, SteppedMasked(network.first), self.others)

    def start_row(self, state: list[State], condition: Tensor | None) -> None:
        """See `SteppedNetwork`."""
        told: list[Tensor | None] = [None] * len(state)
        if condition is not None:
            told[0], *told[2 : 1 + 3 * self.blocks : 3] = self.network.told(condition.unsqueeze(2))
        for layer, kept, added in zip((self.first, *self.others), state, told, strict=True):
            layer.start_row(kept, None if added is None else added.squeeze(2))

    def value(self, state: list[State], column: int, colour: int) -> Tensor:
        """See `SteppedNetwork`."""
        steps = zip(self.others, state[1:], strict=True)

        def after(x: Tensor) -> Tensor:
            layer, kept = next(steps)
            return layer.step(nnf.relu(x), kept, column, colour)

        x = self.first.features(state[0], column, colour)
        for _ in range(self.blocks):
            x = x + after(after(after(x)))
        return nnf.relu(after(after(x)))
