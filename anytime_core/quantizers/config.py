"""The config sections of quantizers."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, field_validator

from anytime_core.section import MOST_CODES, Section


class QuantizerSection(Section):
    """Base of the sections of all quantizers."""

    kind: str

    @property
    def codebook_size(self) -> int | None:
        """K; None for continuous codes."""
        return None


class VQConfig(QuantizerSection):
    """Vector quantisation with a learned codebook."""

    kind: Literal["vq"] = Field("vq", description="vector quantisation")
    size: int = Field(512, ge=2, le=MOST_CODES, description="codebook size K")
    shared: bool = Field(True, description="one codebook for all positions, or one per position")
    update: Literal["ema", "gradient"] = Field("ema", description="moving average, or the paper's codebook loss")
    decay: float = Field(0.99, ge=0, lt=1, description="decay of the moving average")
    commitment: float = Field(
        0.25, ge=0, description="weight of the commitment loss beside the relative reconstruction loss"
    )
    dead_threshold: float = Field(
        0.1, ge=0, lt=1, description="share of uniform use under which a code restarts; 0 never restarts one"
    )

    @property
    def codebook_size(self) -> int:
        """K."""
        return self.size


class FSQConfig(QuantizerSection):
    """Finite scalar quantisation."""

    kind: Literal["fsq"] = Field("fsq", description="finite scalar quantisation")
    levels: tuple[Annotated[int, Field(ge=2, le=2**16)], ...] = Field(
        (8, 8, 8), min_length=1, max_length=16, description="levels of each scalar; K is their product"
    )
    shared: bool = Field(True, description="one projection for all positions, or one per position")

    @field_validator("levels")
    @classmethod
    def _not_too_many_codes(cls, levels: tuple[int, ...]) -> tuple[int, ...]:
        if math.prod(levels) > MOST_CODES:
            raise ValueError(f"the product of the levels is more than {MOST_CODES} codes")
        return levels

    @property
    def codebook_size(self) -> int:
        """K."""
        return math.prod(self.levels)


class LevelsConfig(QuantizerSection):
    """Values themselves, rounded to evenly spaced levels."""

    kind: Literal["levels"] = Field("levels", description="values themselves, rounded to evenly spaced levels")
    size: int = Field(256, ge=2, le=2**16, description="number of levels K, evenly spaced over [-1, 1]")

    @property
    def codebook_size(self) -> int:
        """K."""
        return self.size


class ContinuousConfig(QuantizerSection):
    """No quantisation: continuous codes, for analysis; no prior can be trained on them."""

    kind: Literal["none"] = Field("none", description="continuous codes")
