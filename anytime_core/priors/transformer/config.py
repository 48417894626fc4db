"""The config sections of transformer priors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from anytime_core.errors import ConfigError
from anytime_core.priors.section import SequenceSection
from anytime_core.section import MOST_CODES

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
    # Nor these, as codes in any order have no order that patterns could be laid on.
    attention: Literal["full", "local", "strided", "fixed"] = Field(
        "full",
        description="what each position attends to. full: all before it; local: its block and the one before (Image "
        "Transformer); strided: the last positions and, in every other layer, its column; fixed: its block and, in "
        "every other layer, the last positions of each block (Sparse Transformer)",
    )
    block: int | None = Field(
        None,
        ge=1,
        le=MOST_CODES,
        description="positions of a block of local and fixed attention, stride of strided attention; null: a row of "
        "the grid of the codes, or about the root of their number",
    )
    summary: int | None = Field(
        None,
        ge=1,
        le=MOST_CODES,
        description="last positions of a block to which all later ones attend, for fixed attention; null: an eighth "
        "of the block",
    )
    positions: Literal["auto", "learned", "grid"] = Field(
        "auto",
        description="embeddings of positions. learned: one for each; grid: the sum of one for the row, one for the "
        "column and so on of the grid of the codes; auto: learned for full attention, else grid if there is one",
    )

    def check(self, spec: CodeSpec) -> None:
        """Raise ConfigError for continuous codes, or for sizes that fit neither each other nor the codes."""
        super().check(spec)
        if self.heads % (self.kv_heads or 1):
            raise ConfigError(f"prior.heads={self.heads} is not a multiple of prior.kv_heads={self.kv_heads}")
        if self.positions == "grid" and len(spec.axes) < 2:
            raise ConfigError(
                f"prior.positions=grid adds up embeddings of rows and columns, but these codes have a grid of "
                f"{'x'.join(map(str, spec.grid))}: use learned, or auto"
            )
        users = {"block": ("local", "strided", "fixed"), "summary": ("fixed",)}
        for name, patterns in users.items():
            if getattr(self, name) is not None and self.attention not in patterns:
                raise ConfigError(
                    f"prior.{name}={getattr(self, name)} means nothing with prior.attention={self.attention}: leave "
                    f"it null, or use prior.attention={' or '.join(patterns)}"
                )
        block, summary = self.block_of(spec), self.summary_of(spec)
        if block > spec.length:
            raise ConfigError(
                f"prior.block={block} is more than the {spec.length} codes: use {spec.length} or less, or null"
            )
        if summary > block:
            raise ConfigError(
                f"prior.summary={summary} is more than the {block} positions of a block (prior.block): use {block} or "
                "less, or null"
            )

    def derived(self, spec: CodeSpec) -> str:
        """See `PriorSection`: the sizes of its attention pattern."""
        if self.attention == "full":
            return ""
        summary = f", summary {self.summary_of(spec)}" if self.attention == "fixed" else ""
        positions = "grid" if self.grid_positions(spec) else "learned"
        return f"{self.attention} attention, block {self.block_of(spec)}{summary}, positions {positions}"

    def block_of(self, spec: CodeSpec) -> int:
        """The positions of a block."""
        return self.block or (spec.row if 1 < spec.row < spec.length else round(math.sqrt(spec.length)))

    def summary_of(self, spec: CodeSpec) -> int:
        """The last positions of a block to which later ones attend."""
        return self.summary or max(1, self.block_of(spec) // 8)

    def grid_positions(self, spec: CodeSpec) -> bool:
        """Whether embeddings of positions are those of their rows and columns."""
        if self.positions == "auto":
            return self.attention != "full" and len(spec.axes) > 1
        return self.positions == "grid"
