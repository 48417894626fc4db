"""The config section of NADE."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from anytime_core.priors.section import SequenceSection


class NADEConfig(SequenceSection):
    """The neural autoregressive distribution estimator."""

    kind: Literal["nade"] = Field("nade", description="one hidden layer that sums up the codes so far")
    hidden: int = Field(1536, ge=1, le=2**16, description="units of the hidden layer")
    embedding: int = Field(32, ge=1, le=2**12, description="numbers that stand for a code at the input")
    features: int = Field(
        32, ge=1, le=2**12, description="numbers from which the last layer makes the logits of a code"
    )
    activation: Literal["relu", "sigmoid"] = Field(
        "relu", description="of hidden units; sigmoid is that of the first paper"
    )
