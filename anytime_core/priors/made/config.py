"""The config section of MADE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from anytime_core.errors import ConfigError
from anytime_core.priors.section import SequenceSection

if TYPE_CHECKING:
    from anytime_core.quantizers.base import CodeSpec


class MADEConfig(SequenceSection):
    """The masked autoencoder."""

    kind: Literal["made"] = Field("made", description="a feed-forward network whose masks keep the order of the codes")
    layers: int = Field(2, ge=1, le=64, description="hidden layers")
    hidden: int = Field(1024, ge=1, le=2**16, description="units of each hidden layer, at least one a code")
    embedding: int = Field(32, ge=1, le=2**12, description="numbers that stand for a code at the input")
    features: int = Field(
        32, ge=1, le=2**12, description="numbers from which the last layer makes the logits of a code"
    )
    direct: bool = Field(False, description="connect inputs with outputs directly too; then fewer units will do")
    masks: int = Field(
        1,
        ge=1,
        le=256,
        description="assignments of degrees to hidden units: training draws one a step, and what they say is averaged",
    )

    def check(self, spec: CodeSpec) -> None:
        """Raise ConfigError for continuous codes, or if not every code can reach the one after it."""
        super().check(spec)
        if self.hidden < spec.length and not self.direct:
            raise ConfigError(
                f"prior.hidden={self.hidden} units are too few for {spec.length} codes, as each needs one to depend on "
                f"the code before it: use prior.hidden={spec.length} or more, or prior.direct=true"
            )
