"""The engine that draws value after value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from anytime_core.priors.grid.stepping import incremental_of, open_grid
from anytime_core.priors.stepping import Engine, Stepper

if TYPE_CHECKING:
    from anytime_core.priors.raster.model import RasterPrior


class EagerEngine(Engine):
    """See `Engine`. It has torch's own operators, on any device, and makes a distribution of the next value only.

    A network that cannot go from value to value is given all rows so far for each value.
    """

    name = "eager"

    def __init__(self, prior: RasterPrior, precision: str = "float32") -> None:
        super().__init__(prior, precision)
        self.incremental = incremental_of(prior.network)

    def open(self, labels: Tensor | None, batch: int, length: int) -> Stepper:
        """A stepper of a batch of `length` values."""
        return open_grid(self.prior.network, self.incremental, self.prior.condition(labels, batch), batch)
