"""What a config may say of the prior of values in subscale order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from anytime_core.errors import ConfigError
from anytime_core.priors.grid.orders import slices_at_most, subscale_order
from anytime_core.priors.grid.section import GridSection, cells_of
from anytime_core.value_networks import NETWORKS, ValueGrid

if TYPE_CHECKING:
    from anytime_core.quantizers.base import CodeSpec


class SubscaleConfig(GridSection):
    """Values on a grid, slice after slice, by a network over one slice that is told of the slices before it."""

    kind: Literal["subscale"] = Field("subscale", description="values of a grid slice after slice, coarse ones first")
    blocks: int = Field(4, ge=1, le=1000, description="residual blocks of the embedder of earlier slices")
    width: int = Field(32, ge=1, le=2**14, description="channels of the embedder")
    slices_per_step: int | None = Field(
        None,
        ge=1,
        description="how many slices of each sample a training step looks at, drawn at random; null: all of them",
    )

    def value_grid(self, spec: CodeSpec) -> ValueGrid:
        """The grid of one slice. Raises ConfigError if codes have no grid, or do not stand in subscale order."""
        slices = self.slices_of(spec)
        channels, shape = cells_of(spec, self.kind, self._axes)
        return ValueGrid(channels, tuple(size // slices for size in shape))

    def slices_of(self, spec: CodeSpec) -> int:
        """How many slices there are along a side. Raises what `value_grid` raises."""
        channels, shape = cells_of(spec, self.kind, self._axes)
        for slices in range(2, slices_at_most(shape) + 1):
            divides = not any(size % slices for size in shape)
            if divides and spec.order == subscale_order(channels, shape, slices):
                return slices
        raise ConfigError(
            f"prior.kind={self.kind} draws the values of a grid slice after slice, and these codes stand in another "
            "order: use autoencoder.order=subscale, or another kind of prior"
        )

    def derived(self, spec: CodeSpec) -> str:
        """See `PriorSection`."""
        slices = self.slices_of(spec)
        return f"{slices**self._axes} slices of {'x'.join(map(str, self.value_grid(spec).shape))}"

    @property
    def _axes(self) -> int:
        return NETWORKS[self.chosen().kind].axes
