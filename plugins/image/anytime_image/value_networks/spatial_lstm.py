"""Spatial LSTM (Theis and Bethge, "Generative Image Modeling Using Spatial LSTMs", NIPS 2015, section 2.3).

C is the number of colours, E how many numbers stand for a value, Q the number of channels of the condition, F that of
features of a value, H how many units a layer has, and U those of all layers. [R, W, B, ...] are maps: R rows and W
columns of a batch of B pictures. The state of a cell is the output h and the memory c of each unit, [..., 2 * H].
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anytime_core.value_networks import Cell, ValueGrid
from anytime_image.value_networks.causal import PatchSteps
from anytime_image.value_networks.masked import MaskedConvolution, colours_of
from anytime_image.value_networks.sections import SpatialLSTMConfig
from anytime_image.value_networks.wavefront import scan

_GATES = 5
"""How many numbers decide on a unit: what it takes, keeps of the left cell and of the upper one, shows, and writes."""


class SpatialLSTM(nn.Module):
    """See `ValueNetwork`: units of a cell see a patch of earlier cells, and the units of the left and the upper cell.

    Features are a rectified layer of all units and of the earlier colours of the cell itself.

    Args:
        section: sizes.
        grid: what it goes over.

    Attributes:
        features: F.
    """

    earlier: Tensor

    def __init__(self, section: SpatialLSTMConfig, grid: ValueGrid) -> None:
        super().__init__()
        width, colours, features = section.width, grid.channels, section.features
        self.grid, self.features = grid, features
        values = colours * grid.inputs
        # The units are of the whole cell, so they see none of its values.
        self.patch = MaskedConvolution(values, _GATES * width, 1, kernel=section.patch, mask="A", above=True)
        self.layers = nn.ModuleList(
            SpatialLayer(width, grid.condition, below=number > 0) for number in range(section.layers)
        )
        self.from_units = nn.Linear(section.layers * width, colours * features)
        self.from_colours = nn.Parameter(torch.randn(colours * features, values) * grid.inputs**-0.5)
        earlier = colours_of(colours * features, colours).unsqueeze(1) > colours_of(values, colours)
        self.register_buffer("earlier", earlier.float(), persistent=False)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """[B, C * E, R, W] -> [B, C * F, R, W]."""
        told = None if condition is None else condition.permute(2, 3, 0, 1)
        below, units = self.patch(x).permute(2, 3, 0, 1), []
        for layer in self.each():
            below = layer(below, told)
            units.append(below)
        return self.found(torch.cat(units, -1), x.permute(2, 3, 0, 1)).permute(2, 3, 0, 1)

    def each(self) -> Iterator[SpatialLayer]:
        """The layers, the lowest first."""
        layers: Any = self.layers
        return iter(layers)

    def found(self, units: Tensor, values: Tensor) -> Tensor:
        """Features [..., C * F] of the units [..., U] and the values [..., C * E] of a cell, the unknown ones zeros."""
        return (self.from_units(units) + F.linear(values, self.from_colours * self.earlier)).relu()

    def incremental(self) -> SpatialSteps:
        """See `HasIncremental`."""
        return SpatialSteps(self)


class SpatialLayer(nn.Module):
    """Units that keep what those of the left and of the upper cell knew.

        c = take * write + keep_left * c_left + keep_above * c_above        h = tanh(show * c)

    Args:
        width: H.
        condition: Q; 0: there is none.
        below: whether the units of another layer are its input; else its input is added to what decides on a unit.
    """

    def __init__(self, width: int, condition: int, *, below: bool) -> None:
        super().__init__()
        self.width = width
        self.below = nn.Linear(width, _GATES * width) if below else None
        self.told = nn.Linear(condition, _GATES * width, bias=False) if condition else None
        # With both kept by half, memory neither fades nor grows from one diagonal to the next, at first.
        self.states = nn.Parameter(torch.empty(2 * width, _GATES * width).uniform_(-1, 1) * (2 * width) ** -0.5)

    def gates(self, x: Tensor, told: Tensor | None) -> Tensor:
        """What input [..., H or 5 * H] and condition [..., Q] say of the units of a cell, [..., 5 * H]."""
        gates = x if self.below is None else self.below(x)
        return gates if self.told is None else gates + self.told(told)

    def forward(self, x: Tensor, told: Tensor | None) -> Tensor:
        """Input [R, W, B, H or 5 * H] and condition [R, W, B, Q] -> outputs [R, W, B, H]."""
        states = scan(self.gates(x, told).unsqueeze(0), 2 * self.width, self.state)
        return states[0, ..., : self.width]

    def state(self, gates: Tensor, left: Tensor, above: Tensor) -> Tensor:
        """The states of cells, of those to their left and above them; see `Step` of wavefronts."""
        (h_left, c_left), (h_above, c_above) = left.chunk(2, -1), above.chunk(2, -1)
        gates = gates + torch.cat([h_left, h_above], -1) @ self.states
        decisions, write = gates.split([(_GATES - 1) * self.width, self.width], -1)
        take, keep_left, keep_above, show = decisions.sigmoid().chunk(_GATES - 1, -1)
        c = take * write.tanh() + keep_left * c_left + keep_above * c_above
        return torch.cat([(show * c).tanh(), c], -1)


class SpatialSteps:
    """See `IncrementalValues`. The units of a cell are computed once, for its first colour."""

    def __init__(self, network: SpatialLSTM) -> None:
        self.network, self.patch = network, PatchSteps(network.patch, network.grid)

    @torch.no_grad()
    def state(self, batch: int, condition: Tensor | None) -> tuple[Tensor, ...]:
        """See `IncrementalValues`: the last rows of values, of each layer a row of states, and the condition."""
        values, columns = self.patch.values(batch), self.network.grid.shape[1]
        rows = [values.new_zeros(batch, columns, 2 * layer.width) for layer in self.network.each()]
        return (values, *rows, *(() if condition is None else (condition.contiguous(),)))

    @torch.no_grad()
    def features(self, x: Tensor | None, state: tuple[Tensor, ...], cell: Cell) -> Tensor:
        """See `IncrementalValues`."""
        network, (row, column, colour) = self.network, cell
        values, *rows = state
        told = rows.pop()[:, :, row, column] if network.grid.condition else None
        self.patch.take(x, values, cell)
        if not colour:
            below = self.patch.see(values, column)
            for layer, states in zip(network.each(), rows, strict=True):
                left = states[:, column - 1] if column else torch.zeros_like(states[:, 0])
                states[:, column] = layer.state(layer.gates(below, told), left, states[:, column])
                below = states[:, column, : layer.width]
        units = torch.cat([states[:, column, : states.shape[2] // 2] for states in rows], -1)
        found = network.found(units, self.patch.own(values, column))
        return found[:, colour * network.features :][:, : network.features]
