"""What a config may say of the recurrent prior."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from anytime_core.errors import ConfigError
from anytime_core.priors.section import SequenceSection

if TYPE_CHECKING:
    from anytime_core.quantizers.base import CodeSpec

_FEWEST = 3


class GRUConfig(SequenceSection):
    """Gated recurrent units: codes from first to last, from a state of fixed size."""

    kind: Literal["gru"] = Field("gru", description="gated recurrent units, codes from first to last")
    layers: int = Field(1, ge=1, le=256, description="recurrent layers")
    width: int = Field(640, ge=1, le=2**16, description="units of a layer, and width of its inputs")
    dual_softmax: bool = Field(
        False,
        description="predict the coarse digit of a code, then the fine one given it, each by a softmax of its own: far "
        "fewer weights where codes have very many values",
    )

    def check(self, spec: CodeSpec) -> None:
        """Raise ConfigError for continuous codes, or for codes without two digits that are to have a dual softmax."""
        super().check(spec)
        if self.dual_softmax and spec.size is not None and spec.size < _FEWEST:
            raise ConfigError(
                f"prior.dual_softmax=true needs codes of two digits, and codes of {spec.size} values have only one: "
                "use prior.dual_softmax=false"
            )


def fine_values(spec: CodeSpec) -> int:
    """The number of values of the fine digit: nearly the square root of K, where the codes' own digits allow it."""
    size, radices = spec.size or 0, spec.radices or ()
    ends = [math.prod(radices[start:]) for start in range(1, len(radices))]
    proper = [values for values in ends if 1 < values < size]
    return min(proper, key=lambda values: abs(math.log(values**2 / size))) if proper else math.isqrt(size - 1) + 1
