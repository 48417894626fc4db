"""What a config may say of the prior of values in multiscale order."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from anytime_core.display import counted
from anytime_core.errors import ConfigError
from anytime_core.priors.grid.orders import multiscale_order
from anytime_core.priors.grid.section import GridSection, cells_of
from anytime_core.value_networks import NETWORKS, ValueGrid

if TYPE_CHECKING:
    from anytime_core.quantizers.base import CodeSpec


class MultiscaleConfig(GridSection):
    """Values on a grid, scale after scale: a small picture by a network, and each group of a doubling at once."""

    kind: Literal["multiscale"] = Field("multiscale", description="values of a grid scale after scale, many at a time")
    blocks: int = Field(4, ge=1, le=1000, description="residual blocks of the network of each doubling")
    width: int = Field(64, ge=1, le=2**14, description="channels of these networks")

    def value_grid(self, spec: CodeSpec) -> ValueGrid:
        """The grid of the smallest picture. Raises ConfigError if codes have no grid, or are in another order."""
        scale = self.scale_of(spec)
        channels, shape = cells_of(spec, self.kind, self._axes)
        return ValueGrid(channels, tuple(size // scale for size in shape))

    def scale_of(self, spec: CodeSpec) -> int:
        """How many times smaller a side of the smallest picture is. Raises what `value_grid` raises.

        One cell that is doubled has the order of 2 x 2 cells, and counts as one cell.
        """
        channels, shape = cells_of(spec, self.kind, self._axes)
        scale = math.gcd(*shape)
        scale &= -scale  # the largest power of two that divides all sizes
        while scale > 1 and max(shape) > 2:  # 2 x 2 cells would be a raster
            if spec.order == multiscale_order(channels, shape, scale):
                return scale
            scale //= 2
        raise ConfigError(
            f"prior.kind={self.kind} draws the values of a grid scale after scale, and these codes stand in another "
            "order: use autoencoder.order=multiscale, or another kind of prior"
        )

    def derived(self, spec: CodeSpec) -> str:
        """See `PriorSection`."""
        doublings = self.scale_of(spec).bit_length() - 1
        smallest = "x".join(map(str, self.value_grid(spec).shape))
        return f"{smallest} values one by one, then {counted(doublings, 'doublings')}"

    @property
    def _axes(self) -> int:
        return NETWORKS[self.chosen().kind].axes
