"""The engine of networks that go from value to value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from anytime_core.errors import UsageError
from anytime_core.priors.stepping import Engine
from anytime_core.value_networks import HasIncremental

if TYPE_CHECKING:
    from anytime_core.priors.raster.model import RasterPrior


class EagerEngine(Engine):
    """See `Engine`. It computes features of one value after another, with torch's own operators, on any device.

    Raises:
        UsageError: the network computes those of all values at a time only.
    """

    name = "eager"

    def __init__(self, prior: RasterPrior, precision: str = "float32") -> None:
        super().__init__(prior, precision)
        network = prior.network.network
        if not isinstance(network, HasIncremental):
            raise UsageError(
                f"engine '{self.name}' goes from value to value, which network '{prior.network.kind}' does not: use "
                "--engine plain"
            )
        self.incremental = network.incremental()

    def open(self, labels: Tensor | None, batch: int, length: int) -> ValueStepper:
        """A stepper of a batch of `length` values."""
        return ValueStepper(self.prior, self.incremental, labels, batch)


class ValueStepper:
    """See `Stepper`.

    Args:
        prior: the prior.
        incremental: what computes features.
        labels: [B], None for an unconditional prior.
        batch: B.
    """

    def __init__(self, prior: RasterPrior, incremental: Any, labels: Tensor | None, batch: int) -> None:
        self.network, self.incremental = prior.network, incremental
        self.state = incremental.state(batch, prior.condition(labels, batch))
        self.in_cell = torch.zeros(batch, self.network.grid.channels, device=prior.device)

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        """Logits [B, K] of the value at `position`."""
        x = None if previous is None else self.network.values(previous.unsqueeze(1), position - 1).squeeze(1)
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
