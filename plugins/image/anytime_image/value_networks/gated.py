"""Gated PixelCNN (van den Oord et al., "Conditional Image Generation with PixelCNN Decoders", NIPS 2016).

B, C, E, F, Q, R and W are those of `anytime_core.value_networks` and of `masked.py`.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as nnf
from torch import Tensor, nn

from anytime_core.value_networks import ValueGrid
from anytime_image.value_networks.masked import (
    MaskedConvolution,
    RowConvolution,
    State,
    SteppedMasked,
    SteppedNetwork,
    SteppedRows,
    channels_last,
    share,
)
from anytime_image.value_networks.sections import GatedPixelCNNConfig


class GatedPixelCNN(nn.Module):
    """A stack that sees whole rows above, and one that sees the own row and reads the other; see `ValueNetwork`.

    Only the second stack tells colours apart, as the first sees whole cells. At the end are units that are never dead,
    as the first colour has few of them.

    Args:
        section: sizes.
        grid: what it is built for.

    Attributes:
        features: F.
    """

    layers: Any

    def __init__(self, section: GatedPixelCNNConfig, grid: ValueGrid) -> None:
        super().__init__()
        self.features, self.grid = section.features, grid
        colours, inputs = grid.channels, grid.channels * grid.inputs
        self.width = width = colours * share(section.width, colours)
        self.above = RowConvolution(inputs, width, kernel=section.first_kernel, own=False)
        self.left = MaskedConvolution(inputs, width, colours, kernel=section.first_kernel, mask="A")
        dilations = [section.dilations[layer % len(section.dilations)] for layer in range(section.layers)]
        self.layers = nn.ModuleList(
            GatedLayer(width, colours, section.kernel, dilation, last=number == len(dilations))
            for number, dilation in enumerate(dilations, 1)
        )
        self.output = MaskedConvolution(width, colours * section.features, colours)
        told = 4 * width * section.layers
        self.condition = nn.Conv2d(grid.condition, told, 1, bias=False) if grid.condition else None

    def told(self, condition: Tensor | None) -> list[Tensor | None]:
        """What is added to the gates of each layer, first those of rows above, [B, 4 width, R, W]."""
        if self.condition is None:
            return [None] * len(self.layers)
        return list(self.condition(condition).chunk(len(self.layers), 1))

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """See `ValueNetwork`."""
        above = channels_last(self.above(x))
        stream = nnf.pad(channels_last(self.left(x)), (0, 0, 0, 0, 0, self.width))
        for layer, told in zip(self.layers, self.told(condition), strict=True):
            above, stream = layer(above, stream, told)
        return nnf.elu(self.output(nnf.elu(stream)))

    def incremental(self) -> SteppedGatedPixelCNN:
        """See `HasIncremental`."""
        return SteppedGatedPixelCNN(self)


class GatedLayer(nn.Module):
    """A layer of both stacks; only the stack of the own row has a residual and a skip connection.

    Args:
        width: channels of each stack.
        colours: C.
        kernel: the side of the convolutions.
        dilation: of the convolutions.
        last: whether nothing but its skip connection is read.
    """

    def __init__(self, width: int, colours: int, kernel: int, dilation: int, *, last: bool) -> None:
        super().__init__()
        self.above = RowConvolution(width, 2 * width, kernel=kernel, dilation=dilation)
        self.link = nn.Conv2d(2 * width, 2 * width, 1, bias=False)
        self.left = MaskedConvolution(width, 2 * width, colours, kernel=kernel, dilation=dilation, parts=2)
        parts = 1 if last else 2
        self.outputs = MaskedConvolution(width, parts * width, colours, parts=parts)

    def forward(self, above: Tensor, stream: Tensor, told: Tensor | None) -> tuple[Tensor, Tensor]:
        """One step of both stacks.

        Args:
            above: the stack of rows above, [B, width, R, W].
            stream: the stack of the own row and the sum of its skip connections, [B, 2 width, R, W].
            told: what is added to the gates of both stacks, [B, 4 width, R, W].

        Returns:
            Both; if it is the last layer, only the sum of `stream`, [B, width, R, W].
        """
        above, linked = self.from_above(self.above(above), told)
        gates = self.left(stream[:, : above.shape[1]]) + linked
        found = self.outputs(gated(gates))
        return above, stream[:, -found.shape[1] :] + found

    def from_above(self, gates: Tensor, told: Tensor | None) -> tuple[Tensor, Tensor]:
        """The gates of rows above -> their stack, and what is added to the gates of the own row."""
        linked = self.link(gates)
        if told is not None:
            to_above, to_left = told.chunk(2, 1)
            gates, linked = gates + to_above, linked + to_left
        return gated(gates), linked


def gated(gates: Tensor) -> Tensor:
    """tanh(filters) sigmoid(gates), where both lie side by side, [B, 2 I, ...] -> [B, I, ...]."""
    filters, gates = gates.chunk(2, 1)
    return filters.tanh() * gates.sigmoid()


class SteppedGatedPixelCNN(SteppedNetwork):
    """Gated PixelCNN, one value after another; see `IncrementalValues`.

    The stack of rows above goes from row to row; kept are the rows that its kernels reach.

    Args:
        network: the network.
    """

    def __init__(self, network: GatedPixelCNN) -> None:
        self.network = network
        self.above = [SteppedRows(network.above.weight, network.above.bias)]
        self.left, self.outputs = [], []
        for layer in network.layers:
            self.above.append(SteppedRows(layer.above.weight, layer.above.bias, layer.above.dilation))
            self.left.append(SteppedMasked(layer.left, told=True))
            self.outputs.append(SteppedMasked(layer.outputs))
        self.outputs.append(SteppedMasked(network.output))
        super().__init__(network.grid, SteppedMasked(network.left), [*self.above, *self.left, *self.outputs])

    def start_row(self, state: list[State], condition: Tensor | None) -> None:
        """See `SteppedNetwork`."""
        first, kept = state[0], iter(state[1:])
        values = first[0][:, self.first.left :].transpose(1, 2)  # of the row above, [B, C * E, W]
        rows = self.above[0].step(values, next(kept))
        told = self.network.told(None if condition is None else condition.unsqueeze(2))
        linked = []
        for stepped, layer, added in zip(self.above[1:], self.network.layers, told, strict=True):
            rows, link = layer.from_above(stepped.step(rows, next(kept)).unsqueeze(2), added)
            rows = rows.squeeze(2)
            linked.append(link.squeeze(2))
        for convolution, link in zip(self.left, linked, strict=True):
            convolution.start_row(next(kept), link)

    def value(self, state: list[State], column: int, colour: int) -> Tensor:
        """See `SteppedNetwork`."""
        convolutions, outputs = state[1 + len(self.above) : -len(self.outputs)], state[-len(self.outputs) :]
        left = self.first.features(state[0], column, colour)
        width, stream = left.shape[1], nnf.pad(left, (0, left.shape[1]))
        layers = zip(self.left, self.outputs[:-1], convolutions, outputs[:-1], strict=True)
        for convolution, output, *kept in layers:
            gates = convolution.step(stream[:, :width], kept[0], column, colour)
            found = output.step(gated(gates), kept[1], column, colour)
            stream = stream[:, -found.shape[1] :] + found
        return nnf.elu(self.outputs[-1].step(nnf.elu(stream), outputs[-1], column, colour))
