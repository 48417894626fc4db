"""The sections of networks over values. Nothing here needs torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from anytime_core.errors import ConfigError
from anytime_core.value_networks import NetworkSection, ValueGrid


def check_odd(name: str, side: int) -> None:
    """Raise ConfigError for a kernel without a middle."""
    if side % 2 == 0:
        raise ConfigError(
            f"prior.network.{name}={side} has no middle: use an odd number, such as {side - 1} or {side + 1}"
        )


class ConvolutionalSection(NetworkSection):
    """The settings that networks of masked convolutions have in common."""

    width: int = Field(
        32, ge=1, le=2**14, description="channels of a layer; values of a cell share them evenly, rounded up"
    )
    kernel: int = Field(3, ge=3, le=63, description="side of the kernel of a layer in cells, an odd number")
    first_kernel: int = Field(7, ge=3, le=63, description="side of the first kernel, an odd number")
    features: int = Field(64, ge=1, le=2**14, description="features of a value, which its distribution is made of")

    def check(self, grid: ValueGrid) -> None:
        """Raise ConfigError for a kernel without a middle."""
        for name in ("kernel", "first_kernel"):
            check_odd(name, getattr(self, name))


class PixelCNNConfig(ConvolutionalSection):
    """PixelCNN: masked convolutions in residual blocks (van den Oord et al., 2016)."""

    kind: Literal["pixelcnn"] = Field("pixelcnn", description="masked convolutions in residual blocks")
    blocks: int = Field(8, ge=1, le=256, description="residual blocks, which have twice `width` channels between them")


class GatedPixelCNNConfig(ConvolutionalSection):
    """Gated PixelCNN: two stacks of gated convolutions, which have no blind spot (van den Oord et al., 2016)."""

    kind: Literal["gated-pixelcnn"] = Field("gated-pixelcnn", description="two stacks of gated convolutions")
    layers: int = Field(7, ge=1, le=256, description="gated layers")
    dilations: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field(
        (1, 2, 1, 4),
        min_length=1,
        description="distance between the cells that a layer sees, for each layer in turn, from the first again after "
        "the last",
    )


class PixelCNNPlusPlusConfig(NetworkSection):
    """PixelCNN++: shifted streams of gated convolutions at several resolutions (Salimans et al., 2017)."""

    kind: Literal["pixelcnn++"] = Field("pixelcnn++", description="shifted streams at several resolutions")
    width: int = Field(32, ge=1, le=2**14, description="channels of each stream, and features of a value")
    resolutions: int = Field(3, ge=1, le=8, description="resolutions, each half of the one before")
    blocks: int = Field(2, ge=1, le=100, description="gated blocks at each resolution, on the way down and on that up")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout in gated blocks; 0.5 in the paper")


class PixelSNAILConfig(NetworkSection):
    """PixelSNAIL: gated convolutions and attention to all earlier cells, in turn (Chen et al., 2018)."""

    kind: Literal["pixelsnail"] = Field("pixelsnail", description="gated convolutions and attention, in turn")
    width: int = Field(32, ge=1, le=2**14, description="channels, and features of a value")
    blocks: int = Field(3, ge=1, le=100, description="blocks, each of which ends in attention")
    convolutions: int = Field(
        2, ge=1, le=100, description="gated blocks of convolutions before the attention of a block"
    )
    keys: int = Field(4, ge=1, le=2**14, description="numbers in a key")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout in gated blocks; 0.5 in the paper")


class PixelRNNConfig(NetworkSection):
    """PixelRNN: layers of LSTM units that go through the picture (van den Oord et al., 2016)."""

    kind: Literal["pixelrnn"] = Field("pixelrnn", description="LSTM layers that go through the picture")
    layer: Literal["row", "diagonal"] = Field(
        "row",
        description="row: each row at once from the row above, so that a value sees a triangle above it; diagonal: "
        "from the cells beside and above, in both directions, so that it sees all values before it",
    )
    layers: int = Field(2, ge=1, le=256, description="LSTM layers")
    width: int = Field(
        32, ge=1, le=2**14, description="units of a layer; values of a cell share them evenly, rounded up"
    )
    first_kernel: int = Field(7, ge=3, le=63, description="side of the kernel of the first convolution, an odd number")
    features: int = Field(32, ge=1, le=2**14, description="features of a value, which its distribution is made of")

    def check(self, grid: ValueGrid) -> None:
        """Raise ConfigError for a kernel without a middle."""
        check_odd("first_kernel", self.first_kernel)


class SpatialLSTMConfig(NetworkSection):
    """Spatial LSTM: units that keep what those of the left and the upper cell knew (Theis and Bethge, 2015)."""

    kind: Literal["spatial-lstm"] = Field("spatial-lstm", description="LSTM units on a grid of cells")
    layers: int = Field(1, ge=1, le=256, description="layers of units, each on the one below")
    width: int = Field(48, ge=1, le=2**14, description="units of a layer")
    patch: int = Field(
        7, ge=3, le=63, description="side of the square whose earlier cells the lowest layer sees, an odd number"
    )
    features: int = Field(64, ge=1, le=2**14, description="features of a value, which its distribution is made of")

    def check(self, grid: ValueGrid) -> None:
        """Raise ConfigError for a square without a middle."""
        check_odd("patch", self.patch)
