"""The config section of WaveNet."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from anytime_core.priors.convolution.config import ConvolutionSection


class WaveNetConfig(ConvolutionSection):
    """WaveNet: gated causal dilated convolutions."""

    kind: Literal["wavenet"] = Field("wavenet", description="codes from first to last, by gated dilated convolutions")
    width: int = Field(256, ge=1, le=2**16, description="residual channels")
    skip_channels: int = Field(256, ge=1, le=2**16, description="channels of the sum of skip connections")
