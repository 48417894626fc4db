"""The config section of convolutional priors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from anytime_core.errors import ConfigError
from anytime_core.priors.section import SequenceSection

if TYPE_CHECKING:
    from anytime_core.quantizers.base import CodeSpec


class ConvolutionSection(SequenceSection):
    """The settings that all convolutional priors have in common."""

    layers: int = Field(10, ge=1, le=256, description="number of blocks")
    kernel: int = Field(2, ge=2, le=64, description="taps of a convolution, `dilation` positions apart")
    dilation_cycle: int | None = Field(
        None,
        ge=1,
        le=24,
        description="blocks in which dilations double, from 1, before they begin again; null: as few as make a code "
        "depend on all codes before it",
    )

    def dilations(self, length: int) -> list[int]:
        """The dilation of each block, for `length` codes."""
        cycle = self.dilation_cycle or self._whole_cycle(length)
        return [2 ** (layer % cycle) for layer in range(self.layers)]

    def receptive_field(self, length: int) -> int:
        """How many inputs a code depends on, for `length` codes: its own position's, and those just before it."""
        return 1 + (self.kernel - 1) * sum(self.dilations(length))

    def check(self, spec: CodeSpec) -> None:
        """Raise ConfigError for continuous codes, or for a dilation that reaches beyond them."""
        super().check(spec)
        largest = max(self.dilations(spec.length))
        if largest >= max(spec.length, 2):
            raise ConfigError(
                f"prior.dilation_cycle={self.dilation_cycle} makes dilations of up to {largest}, which is further than "
                f"from the first of {spec.length} codes to the last: use at most "
                f"{max(1, (spec.length - 1).bit_length())}, or null"
            )

    def derived(self, spec: CodeSpec) -> str:
        """See `PriorSection`: the dilations, and how many codes they see."""
        seen, before = self.receptive_field(spec.length), spec.length - 1
        reached = "all codes before it" if seen >= before else f"the {seen} of at most {before} codes before it"
        return f"dilations 1 to {max(self.dilations(spec.length))}, by which a code sees {reached}"

    def _whole_cycle(self, length: int) -> int:
        """The shortest cycle that sees the `length - 1` codes before the last; the label is in every input."""
        cycle = 1
        while 1 + (self.kernel - 1) * (2**cycle - 1) < length - 1:
            cycle += 1
        return cycle
