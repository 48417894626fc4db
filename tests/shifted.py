"""A small network over values for tests: sums of what lies above and to the left, of any number of channels."""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from anytime_core.value_networks import NetworkSection, OfferedNetwork, ValueGrid


class ShiftedConfig(NetworkSection):
    kind: Literal["shifted"] = Field("shifted", description="sums of earlier values")
    width: int = Field(8, ge=1, description="features of a value")


class ShiftedNetwork(nn.Module):
    """Each value sees a weighted sum of all earlier values of all cells."""

    def __init__(self, config: ShiftedConfig, grid: ValueGrid) -> None:
        super().__init__()
        self.grid, self.features = grid, config.width
        self.input = nn.Linear(grid.inputs, config.width)
        self.position = nn.Parameter(torch.randn(grid.shape[0] * grid.shape[1] * grid.channels, config.width))
        self.condition = nn.Linear(grid.condition, config.width) if grid.condition else None
        self.output = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        batch, _, rows, columns = x.shape
        values = x.unflatten(1, (self.grid.channels, self.grid.inputs)).permute(0, 3, 4, 1, 2).flatten(1, 3)
        hidden = self.input(values) * self.position[: values.shape[1]]
        hidden = F.pad(hidden.cumsum(1), (0, 0, 1, 0))[:, :-1]
        if self.condition is not None:
            told = condition.flatten(2).transpose(1, 2)  # [B, R * columns, Q]
            hidden = hidden + self.condition(told).repeat_interleave(self.grid.channels, 1)
        hidden = self.output(torch.tanh(hidden) + self.position[: values.shape[1]])
        hidden = hidden.view(batch, rows, columns, self.grid.channels, -1).permute(0, 3, 4, 1, 2)
        return hidden.flatten(1, 2)

    def incremental(self) -> ShiftedSteps:
        return ShiftedSteps(self)


class ShiftedSteps:
    def __init__(self, network: ShiftedNetwork) -> None:
        self.network = network

    def state(self, batch: int, condition: Tensor | None) -> tuple[Tensor, ...]:
        total = self.network.position.new_zeros(batch, self.network.features)
        return (total,) if condition is None else (total, condition.clone())

    def features(self, x: Tensor | None, state: tuple[Tensor, ...], cell: tuple[int, ...]) -> Tensor:
        network, (row, column, channel) = self.network, cell
        number = (row * network.grid.shape[1] + column) * network.grid.channels + channel
        if x is not None:
            state[0].add_(network.input(x) * network.position[number - 1])
        hidden = state[0]
        if network.condition is not None:
            hidden = hidden + network.condition(state[1][:, :, row, column])
        return network.output(torch.tanh(hidden) + network.position[number])


class Offering:
    """A modality that offers it, as far as networks are concerned."""

    name = "shifts"

    @staticmethod
    def value_networks() -> dict[str, Any]:
        return {"shifted": OfferedNetwork(ShiftedConfig, ShiftedNetwork, "sums of earlier values")}
