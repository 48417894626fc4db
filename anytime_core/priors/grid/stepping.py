"""Drawing the values of a grid one after another. [C, *S] is the shape of the grid, Q the channels of the condition."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anytime_core.priors.grid.network import GridNetwork
from anytime_core.priors.stepping import Stepper
from anytime_core.value_networks import HasIncremental


def open_grid(network: GridNetwork, incremental: Any, condition: Tensor | None, batch: int, first: int = 0) -> Stepper:
    """A stepper over a grid that is a part of a sequence: positions count from 0 in it.

    Args:
        network: the network.
        incremental: what computes features of one value after another, see `incremental_of`.
        condition: [B, Q, *S]; None if Q is 0.
        batch: B.
        first: the position in the sequence at which the grid begins.
    """
    if incremental is None:
        return RowsStepper(network, condition, batch, first)
    return ValueStepper(network, incremental, condition, batch, first)


def incremental_of(network: GridNetwork) -> Any:
    """What computes features of one value after another; None if the network does not."""
    return network.network.incremental() if isinstance(network.network, HasIncremental) else None


class ValueStepper:
    """See `Stepper`: the network goes from value to value, and keeps what it needs. For arguments see `open_grid`."""

    def __init__(
        self, network: GridNetwork, incremental: Any, condition: Tensor | None, batch: int, first: int = 0
    ) -> None:
        self.network, self.incremental, self.first = network, incremental, first
        self.state = incremental.state(batch, condition)
        device = next(network.parameters()).device
        self.in_cell = torch.zeros(batch, network.grid.channels, device=device)

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        """Logits [B, K] of the value at `position`."""
        before = self.first + position - 1
        x = None if previous is None else self.network.values(previous.unsqueeze(1), before).squeeze(1)
        cell = self.network.cell(position)
        if cell[-1] == 0:
            self.in_cell.zero_()
        elif x is not None and self.in_cell.shape[1] > 1 and self.network.values.size == 1:
            self.in_cell[:, cell[-1] - 1] = x.squeeze(-1)
        return self.network.head.logits(self.incremental.features(x, self.state, cell), self.in_cell)

    def keep(self, rows: Tensor) -> None:
        """Go on with only the sequences `rows`."""
        self.state = tuple(part.index_select(0, rows) for part in self.state)
        self.in_cell = self.in_cell[rows]


class RowsStepper:
    """See `Stepper`: all rows so far go through the network for each value. For arguments see `open_grid`."""

    def __init__(self, network: GridNetwork, condition: Tensor | None, batch: int, first: int = 0) -> None:
        self.network, self.condition, self.first = network, condition, first
        device = next(network.parameters()).device
        self.codes = torch.zeros(batch, 0, dtype=torch.int64, device=device)

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        """Logits [B, K] of the value at `position`."""
        if previous is not None:
            self.codes = torch.cat([self.codes, previous.unsqueeze(1)], 1)
        values = self.network.values(self.codes, self.first)
        features, earlier = self.network.features(values, self.condition), self.network.earlier(values, position + 1)
        return self.network.head.logits(features[:, -1], earlier[:, -1])

    def keep(self, rows: Tensor) -> None:
        """Go on with only the sequences `rows`."""
        self.codes = self.codes[rows]
        self.condition = None if self.condition is None else self.condition[rows]
