"""The interface of every quantizer, and the description of codes.

n is a prefix length.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from anytime_core.quantizers.config import QuantizerSection
from anytime_core.quantizers.registry import QUANTIZERS
from anytime_core.section import MOST_CODES, Section

_Count = Annotated[int, Field(ge=1, le=MOST_CODES)]


class CodeSpec(Section):
    """What codes are. The autoencoder makes it, both weights files hold it, and every prior gets it.

    Attributes:
        length: N.
        size: K; None for continuous codes.
        dim: D.
        grid: shape of the cells that positions stand for: `(32,)` channels, `(7, 7)` positions of a map, `(1, 28, 28)`
            pixels, `(4096,)` samples of a waveform. A prior of only the first codes models only some of the cells.
        order: the cell of each position, by its number in row-major order; None: position i is cell i.
        levels: [K], the numbers that the values of a code stand for, ascending; None if they do not lie on a line.
        radices: the number of values of each digit of a code, the most significant first; None if codes have no digits.
        classes: the number of labels that a prior is given; 0: none.
    """

    length: _Count
    size: int | None = Field(ge=1, le=MOST_CODES)
    dim: _Count
    grid: tuple[_Count, ...] = Field(min_length=1, max_length=8)
    order: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    levels: tuple[float, ...] | None = None
    radices: tuple[_Count, ...] | None = Field(None, max_length=64)
    classes: int = Field(0, ge=0, le=MOST_CODES)

    @model_validator(mode="after")
    def _check(self) -> Self:
        cells, values = math.prod(self.grid), self.size or 0
        if not self.length <= cells <= MOST_CODES:
            raise ValueError(f"{self.length} codes do not stand for {cells} cells")
        if self.order is not None and (len(self.order) != cells or sorted(self.order) != list(range(cells))):
            raise ValueError(f"order does not name each of {cells} cells once")
        if self.levels is not None and (len(self.levels) != values or list(self.levels) != sorted(set(self.levels))):
            raise ValueError(f"levels are not {values} ascending numbers")
        if self.radices is not None and math.prod(self.radices) < values:
            raise ValueError(f"digits of {self.radices} cannot number {values} codes")
        return self

    @property
    def axes(self) -> tuple[int, ...]:
        """The sizes of the dimensions of the grid that have more than one cell, such as rows and columns."""
        return tuple(size for size in self.grid if size > 1)

    @property
    def row(self) -> int:
        """How many codes a row of the grid has: leading positions of one coordinate on the second last axis; N if none.

        The channels of a cell count each, if they follow each other: 3 x 32 of colour pictures in raster order.
        """
        if len(self.axes) < 2:
            return self.length
        if self.order is None:
            return self.axes[-1]
        rows = [cell // self.axes[-1] % self.axes[-2] for cell in self.order[: self.length]]
        return next((position for position, row in enumerate(rows) if row != rows[0]), self.length)

    def narrowed(self, length: int | None = None, classes: int = 0) -> CodeSpec:
        """The description of the first `length` codes (None: all), for a prior that is given one of `classes`."""
        return self.model_copy(update={"length": length or self.length, "classes": classes})


@dataclass(frozen=True)
class Quantized:
    """The result of a quantizer for a batch of vectors.

    Attributes:
        vectors: [B, N, D], of the codes; gradients pass straight through to the quantizer's input.
        codes: [B, N] int64 in 0..K-1, or None if codes are continuous.
        loss: [B] float32, the quantizer's loss over the kept codes; zeros if it has none.
    """

    vectors: Tensor
    codes: Tensor | None
    loss: Tensor


class Quantizer(nn.Module, ABC):
    """A module that turns vectors [B, P, D] at P positions into N codes and back; it is made as `cls(P, D, **section)`.

    Most have one code for each position, N = P. A residual quantizer has several `stages`, N = stages * P: the codes of
    all positions at the first stage, then those that add to them, and so on.

    Attributes:
        size: K, or None for continuous codes.
        shared: whether all positions use one codebook.
        stages: number of codes of a position.
        radices: digits that codes have by themselves, see `CodeSpec`.
        starting: whether the next training steps still set it up, by work that waits for the device.
    """

    size: int | None
    shared: bool
    stages: int = 1
    radices: tuple[int, ...] | None = None

    @property
    def starting(self) -> bool:
        """Most need no start."""
        return False

    @abstractmethod
    def forward(self, z: Tensor, kept: Tensor) -> Quantized:
        """Quantise `z` [B, P, D]; losses and statistics see only codes for which `kept` [B, N] is true."""

    @abstractmethod
    def encode(self, z: Tensor) -> Tensor:
        """Codes [B, N] int64 of `z` [B, P, D]. Raises ValueError for continuous codes."""

    @abstractmethod
    def lookup(self, codes: Tensor) -> Tensor:
        """Vectors [B, n, D] of the first n codes, `codes` [B, n].

        The vector of a code may depend on the codes before it, never on those after it.
        """

    @abstractmethod
    def code_vectors(self) -> Tensor:
        """The table of all code vectors: [K, D] if positions share a codebook, else [N, K, D].

        It is what each code by itself stands for, or adds.
        """

    def assembled(self, vectors: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """What the decoder sees at each position if only some codes are kept.

        Args:
            vectors: [B, N, D], of the codes.
            kept: [B, N], a prefix of each row.

        Returns:
            Vectors [B, P, D] and at which positions something is known, [B, P].
        """
        return vectors, kept

    def place(self, vectors: Tensor) -> None:
        """Replace the learned table of code vectors by one of the same shape as `code_vectors` returns.

        Raises:
            ValueError: the vectors of this quantizer do not come from a table.
        """
        raise ValueError(f"{type(self).__name__} has no codebook that can be given")


def build_quantizer(config: QuantizerSection, code_length: int, code_dim: int) -> Quantizer:
    """The quantizer that `config` describes, for codes [B, N, D] with N = `code_length` and D = `code_dim`."""
    return QUANTIZERS[config.kind](code_length, code_dim, **config.model_dump(exclude={"kind"}))
