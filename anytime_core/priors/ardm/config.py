"""What a config may say of order-agnostic autoregressive diffusion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator

from anytime_core.errors import ConfigError
from anytime_core.priors.transformer.config import TransformerSection
from anytime_core.section import MOST_CODES

if TYPE_CHECKING:
    from anytime_core.quantizers.base import CodeSpec


class ARDMConfig(TransformerSection):
    """The order-agnostic prior: codes in any order, any number of them per network call."""

    kind: Literal["ardm"] = Field("ardm", description="codes in any order, any number of them per network call")
    base: int | Literal["levels"] | None = Field(
        None,
        description="draw codes digit by digit in this base, the most significant first; levels: digits are the levels "
        "of fsq codes; null: each code at once",
    )
    cross_entropy: float = Field(1e-3, ge=0, description="weight of the plain cross-entropy beside the bound")
    time_input: bool = Field(False, description="tell the network which share of the codes is known")
    prefix_share: float = Field(
        0.2, ge=0, lt=1, description="share of the training sequences that are cut to a random prefix"
    )

    @field_validator("base")
    @classmethod
    def _at_least_two(cls, base: int | str | None) -> int | str | None:
        if isinstance(base, int) and not 2 <= base <= MOST_CODES:
            raise ValueError(f"a base is at least 2 and at most {MOST_CODES}")
        return base

    def check(self, spec: CodeSpec) -> None:
        """Raise ConfigError for codes that no transformer can model, or digits that these codes do not have."""
        super().check(spec)
        if self.base == "levels" and spec.radices is None:
            raise ConfigError(
                "prior.base=levels draws the levels of fsq codes, but codes of another autoencoder.quantizer.kind have "
                "none: use a number, or null"
            )
