"""The config section of MADE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from anytime_core.errors import ConfigError
from anytime_core.priors.section import SequenceSection

if TYPE_CHECKING:
    from anytime_core.quantizers.base import CodeSpec

_MOST_DIRECT = 2**27
"""The most weights of direct connections, 512 MiB in float32: they grow with the square of the number of codes."""


class MADEConfig(SequenceSection):
    """The masked autoencoder."""

    kind: Literal["made"] = Field("made", description="a feed-forward network whose masks keep the order of the codes")
    layers: int = Field(1, ge=1, le=64, description="hidden layers")
    hidden: int = Field(1536, ge=1, le=2**16, description="units of each hidden layer, at least one a code")
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
        """Raise ConfigError for continuous codes, for too many connections, or for too few to depend on every code."""
        super().check(spec)
        direct = spec.length**2 * self.embedding * self.features if self.direct else 0
        if direct > _MOST_DIRECT:
            raise ConfigError(
                f"prior.direct=true takes {direct} weights for {spec.length} codes: use prior.direct=false, or smaller "
                f"prior.embedding={self.embedding} and prior.features={self.features}"
            )
        if self.hidden < spec.length and not self.direct:
            raise ConfigError(
                f"prior.hidden={self.hidden} units are too few for {spec.length} codes, as each needs one to depend on "
                f"the code before it: use prior.hidden={spec.length} or more, or prior.direct=true"
            )
