"""The config section of ByteNet."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from anytime_core.priors.convolution.config import ConvolutionSection


class ByteNetConfig(ConvolutionSection):
    """ByteNet's decoder: residual blocks of masked dilated convolutions."""

    kind: Literal["bytenet"] = Field("bytenet", description="codes from first to last, by dilated convolutions")
    width: int = Field(136, ge=1, le=2**15, description="channels of the convolutions; blocks add to twice as many")
    kernel: int = Field(3, ge=2, le=64, description="taps of a convolution, `dilation` positions apart")
    block: Literal["multiplicative", "relu"] = Field(
        "multiplicative", description="what convolves: a multiplicative unit with three gates, or a plain convolution"
    )
