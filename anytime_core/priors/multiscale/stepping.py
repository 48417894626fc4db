"""Drawing the smallest picture value after value, and then group after group, with one network call for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from anytime_core.priors.grid.layout import before_in_cell
from anytime_core.priors.grid.stepping import open_grid

if TYPE_CHECKING:
    from anytime_core.priors.multiscale.model import MultiscalePrior


class GroupStepper:
    """See `Stepper`; for its arguments `GridPrior.stepper`."""

    def __init__(self, prior: MultiscalePrior, incremental: Any, labels: Tensor | None, batch: int) -> None:
        self.prior = prior
        self.label = prior.label_of(labels, batch)
        self.codes = torch.zeros(batch, prior.code_length, dtype=torch.int64, device=prior.device)
        self.picture = open_grid(prior.network, incremental, prior.everywhere(self.label), batch)
        self.group: Any = None
        self.first, self.end = 0, prior.smallest
        self.features = torch.empty(batch, 0, 0, device=prior.device)

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        """Logits [B, K] of the value at `position`."""
        if previous is not None:
            self.codes[:, position - 1] = previous
        if position < self.prior.smallest:
            return self.picture.step(position, previous)
        if position == self.end:
            self.group, self.features = self.prior.group_features(self.codes[:, :position], position, self.label)
            self.first, self.end = position, position + self.group.in_group
        at = position - self.first
        channel = at % self.group.channels
        in_cell = self.prior.network.values(self.codes[:, position - channel : position], position - channel)
        before = before_in_cell(in_cell, self.group.channels, channel + 1)[:, -1]
        features = self.group.beside(self.features[:, at], before)
        logits: Tensor = self.group.head.logits(features, self.group.earlier(before))
        return logits

    def keep(self, rows: Tensor) -> None:
        """Go on with only the sequences `rows`."""
        self.codes = self.codes[rows]
        self.label = None if self.label is None else self.label[rows]
        self.features = self.features[rows]
        self.picture.keep(rows)
