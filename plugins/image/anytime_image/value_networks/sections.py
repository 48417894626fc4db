"""The sections of networks over values. Nothing here needs torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from anytime_core.value_networks import NetworkSection


class PixelCNNPlusPlusConfig(NetworkSection):
    """Two shifted streams of gated convolutions, at several resolutions."""

    kind: Literal["pixelcnn++"] = Field("pixelcnn++", description="shifted streams at several resolutions")
    width: int = Field(32, ge=1, le=2**14, description="channels of each stream, and features of a value")
    resolutions: int = Field(3, ge=1, le=8, description="resolutions, each half of the one before")
    blocks: int = Field(2, ge=1, le=100, description="gated blocks at each resolution, on the way down and on that up")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout in gated blocks; 0.5 in the paper")


class PixelSNAILConfig(NetworkSection):
    """Gated convolutions and attention to all earlier pixels, in turn."""

    kind: Literal["pixelsnail"] = Field("pixelsnail", description="gated convolutions and attention, in turn")
    width: int = Field(32, ge=1, le=2**14, description="channels, and features of a value")
    blocks: int = Field(3, ge=1, le=100, description="blocks, each of which ends in attention")
    convolutions: int = Field(
        2, ge=1, le=100, description="gated blocks of convolutions before the attention of a block"
    )
    keys: int = Field(4, ge=1, le=2**14, description="numbers in a key")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout in gated blocks; 0.5 in the paper")
