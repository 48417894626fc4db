"""PixelRNN (van den Oord et al., "Pixel Recurrent Neural Networks", ICML 2016).

C is the number of colours, E how many numbers stand for a value, Q the number of channels of the condition, F that of
features of a value, H how many units a layer has for each colour, R the number of rows, W that of columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from anytime_core.value_networks import Cell, ValueGrid
from anytime_image.value_networks.causal import MaskedLinear, PatchSteps
from anytime_image.value_networks.diagonal import DiagonalBiLSTM
from anytime_image.value_networks.masked import MaskedConvolution, colours_of, share
from anytime_image.value_networks.row_lstm import RowLSTM
from anytime_image.value_networks.sections import PixelRNNConfig

LAYERS: dict[str, type[RowLSTM | DiagonalBiLSTM]] = {"row": RowLSTM, "diagonal": DiagonalBiLSTM}


class PixelRNN(nn.Module):
    """See `ValueNetwork`: a masked convolution of values, LSTM layers that each add to it, and two layers at a cell.

    Args:
        section: sizes.
        grid: what it goes over.

    Attributes:
        features: F.
    """

    def __init__(self, section: PixelRNNConfig, grid: ValueGrid) -> None:
        super().__init__()
        colours, width = grid.channels, share(section.width, grid.channels)
        self.grid, self.features = grid, section.features
        values, units = colours * grid.inputs, colours * width
        self.first = MaskedConvolution(values, 2 * units, colours, kernel=section.first_kernel, mask="A", above=True)
        layer, stream = LAYERS[section.layer], colours_of(2 * units, colours)
        self.layers = nn.ModuleList(layer(colours, width, grid.condition, values) for _ in range(section.layers))
        self.outputs = nn.ModuleList(MaskedLinear(colours_of(units, colours), stream) for _ in range(section.layers))
        found = colours_of(colours * section.features, colours)
        self.hidden, self.last = MaskedLinear(stream, found), MaskedLinear(found, found)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """[B, C * E, R, W] -> [B, C * F, R, W]."""
        values = x.permute(2, 3, 0, 1)
        told = None if condition is None else condition.permute(2, 3, 0, 1)
        stream = self.first(x).permute(2, 3, 0, 1)
        for layer, output in self.pairs():
            stream = stream + output(layer(stream, told, values))
        return self.found(stream).permute(2, 3, 0, 1)

    def found(self, stream: Tensor) -> Tensor:
        """[..., 2 * C * H] -> [..., C * F]."""
        return self.last(self.hidden(stream.relu()).relu()).relu()

    def pairs(self) -> Iterator[tuple[RowLSTM | DiagonalBiLSTM, nn.Module]]:
        """Each layer, and what adds its output to the stream."""
        layers: Any = self.layers
        return zip(layers, self.outputs, strict=True)

    def incremental(self) -> PixelRNNSteps:
        """See `HasIncremental`."""
        return PixelRNNSteps(self)


class PixelRNNSteps:
    """See `IncrementalValues`. A value costs the same whatever the picture's height; memory is a few rows a layer."""

    def __init__(self, network: PixelRNN) -> None:
        self.network, self.patch = network, PatchSteps(network.first, network.grid)

    @torch.no_grad()
    def state(self, batch: int, condition: Tensor | None) -> tuple[Tensor, ...]:
        """See `IncrementalValues`: the last rows of values, the state of each layer, and the condition."""
        columns = self.network.grid.shape[1]
        kept = [part for layer, _ in self.network.pairs() for part in layer.state(batch, columns)]
        return (self.patch.values(batch), *kept, *(() if condition is None else (condition.contiguous(),)))

    @torch.no_grad()
    def features(self, x: Tensor | None, state: tuple[Tensor, ...], cell: Cell) -> Tensor:
        """See `IncrementalValues`."""
        network = self.network
        values, *kept = state
        told = kept.pop() if network.grid.condition else None
        self.patch.take(x, values, cell)
        stream = self.patch.see(values, cell[1])
        each = len(kept) // len(network.layers)
        for number, (layer, output) in enumerate(network.pairs()):
            own = tuple(kept[number * each : (number + 1) * each])
            stream = stream + output(layer.step(stream, told, values, own, cell, self.patch))
        return network.found(stream)[:, cell[-1] * network.features :][:, : network.features]
