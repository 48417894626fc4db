"""The engine of networks that go from value to value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from anytime_core.errors import UsageError
from anytime_core.priors.grid.stepping import ValueStepper
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
        return ValueStepper(self.prior.network, self.incremental, self.prior.condition(labels, batch), batch)
