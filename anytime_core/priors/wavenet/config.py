"""The config section of WaveNet."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from anytime_core.priors.convolution.config import ConvolutionSection


class WaveNetConfig(ConvolutionSection):
    """WaveNet: gated causal dilated convolutions."""

    kind: Literal["wavenet"] = Field("wavenet", description="codes from first to last, by gated dilated convolutions")
    width: int = Field(224, ge=1, le=2**16, description="residual channels, and channels of the gates")
    skip_channels: int | None = Field(
        None, ge=1, le=2**16, description="channels of the sum of skip connections; null: as many as width"
    )

    @property
    def skips(self) -> int:
        """The number of skip channels."""
        return self.skip_channels or self.width
