"""The config sections of transformer priors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from anytime_core.errors import ConfigError
from anytime_core.priors.section import SequenceSection

if TYPE_CHECKING:
    from anytime_core.quantizers.base import CodeSpec


class TransformerSection(SequenceSection):
    """The settings that all transformer priors have in common."""

    layers: int = Field(4, ge=1, le=256, description="number of blocks")
    width: int = Field(256, ge=1, le=2**16, description="width of the residual stream, a multiple of heads")
    heads: int = Field(4, ge=1, le=2**16, description="attention heads")
    feedforward: int = Field(4, ge=1, le=2**10, description="width of the feed-forward layer, in multiples of width")

    def check(self, spec: CodeSpec) -> None:
        """Raise ConfigError for continuous codes, or for a width that the heads cannot share."""
        super().check(spec)
        if self.width % self.heads:
            raise ConfigError(f"prior.width={self.width} is not a multiple of prior.heads={self.heads}")


class TransformerConfig(TransformerSection):
    """The decoder-only transformer: codes from first to last."""

    kind: Literal["transformer"] = Field("transformer", description="codes from first to last, one per network call")
    # Priors of kind ardm do not have it: it makes the keys and values of drawn codes smaller, and they keep none.
    kv_heads: int | None = Field(
        None,
        ge=1,
        le=2**16,
        description="heads of keys and values, each shared by equally many attention heads: with fewer, large batches "
        "are drawn faster and in less memory; null: as many as heads",
    )

    def check(self, spec: CodeSpec) -> None:
        """Raise ConfigError for continuous codes, or for a width or key-value heads that the heads cannot share."""
        super().check(spec)
        if self.heads % (self.kv_heads or 1):
            raise ConfigError(f"prior.heads={self.heads} is not a multiple of prior.kv_heads={self.kv_heads}")
