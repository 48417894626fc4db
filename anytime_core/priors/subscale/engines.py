"""The engine that goes from slice to slice, and in a slice from value to value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from anytime_core.priors.grid.stepping import incremental_of, open_grid
from anytime_core.priors.stepping import Engine, Stepper

if TYPE_CHECKING:
    from anytime_core.priors.subscale.model import SubscalePrior


class EagerEngine(Engine):
    """See `Engine`. The embedder runs once a slice, with torch's own operators, on any device.

    A network that cannot go from value to value is given the rows of the slice so far for each of its values.
    """

    name = "eager"

    def __init__(self, prior: SubscalePrior, precision: str = "float32") -> None:
        super().__init__(prior, precision)
        self.incremental = incremental_of(prior.network)

    def open(self, labels: Tensor | None, batch: int, length: int) -> Stepper:
        """A stepper of a batch of `length` values."""
        return SliceStepper(self.prior, self.incremental, labels, batch)


class SliceStepper:
    """See `Stepper`.

    Args:
        prior: the prior.
        incremental: what computes features of one value after another; None: nothing does.
        labels: [B], None for an unconditional prior.
        batch: B.
    """

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
