"""Drawing slice after slice, and in a slice value after value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from anytime_core.priors.grid.stepping import open_grid

if TYPE_CHECKING:
    from anytime_core.priors.subscale.model import SubscalePrior


class SliceStepper:
    """See `Stepper`; for its arguments `GridPrior.stepper`."""

    def __init__(self, prior: SubscalePrior, incremental: Any, labels: Tensor | None, batch: int) -> None:
        self.prior, self.incremental, self.labels = prior, incremental, labels
        self.codes = torch.zeros(batch, prior.code_length, dtype=torch.int64, device=prior.device)
        self.slice: Any = None

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        """Logits [B, K] of the value at `position`."""
        if previous is not None:
            self.codes[:, position - 1] = previous
        number, within = divmod(position, self.prior.in_slice)
        if not within:
            condition = self.prior.condition(self.codes[:, :position], number, self.labels)
            self.slice = open_grid(self.prior.network, self.incremental, condition, len(self.codes), position)
        logits: Tensor = self.slice.step(within, previous if within else None)
        return logits

    def keep(self, rows: Tensor) -> None:
        """Go on with only the sequences `rows`."""
        self.codes = self.codes[rows]
        self.labels = None if self.labels is None else self.labels[rows]
        if self.slice is not None:
            self.slice.keep(rows)
