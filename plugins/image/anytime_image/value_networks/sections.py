"""The sections of networks over values. Nothing here needs torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from anytime_core.errors import ConfigError
from anytime_core.value_networks import NetworkSection, ValueGrid


def check_odd(kind: str, field: str, size: int) -> None:
    """Raise ConfigError if a kernel has no middle."""
    if size % 2 == 0:
        raise ConfigError(
            f"prior.network.{field}={size}: the {field} of network {kind} has a cell in its middle: use {size - 1} or "
            f"{size + 1}"
        )


class PixelRNNSection(NetworkSection):
    """PixelRNN: layers of LSTM units that go through the picture row by row."""

    kind: Literal["pixelrnn"] = Field("pixelrnn", description="LSTM layers that go through the picture (PixelRNN)")
    layer: Literal["row", "diagonal"] = Field(
        "row",
        description="row: each row at once from the row above, so that a cell sees a triangle above it; diagonal: from "
        "the cells beside and above, in both directions, so that it sees all before it",
    )
    layers: int = Field(2, ge=1, le=1000, description="LSTM layers")
    width: int = Field(32, ge=1, le=2**14, description="units of a layer for each colour")
    kernel: int = Field(7, ge=3, le=255, description="rows and columns of the first convolution, odd")
    features: int = Field(32, ge=1, le=2**14, description="features of a value that its distribution is made of")

    def check(self, grid: ValueGrid) -> None:
        """See `NetworkSection`."""
        super().check(grid)
        check_odd(self.kind, "kernel", self.kernel)
