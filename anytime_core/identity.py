"""Codes that are the values of a sample: in which order they stand, and what stands in for those that are missing.

[C, *S] is the shape of a sample, whose values are cells, numbered row by row; P their number, n a prefix length.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from anytime_core.config import AutoencoderConfig
from anytime_core.errors import ConfigError
from anytime_core.priors.grid.orders import multiscale_order, raster_order, subscale_order
from anytime_core.section import MOST_CODES

_MOST_NAMED = 2**18
"""The most codes in another order than that of their cells: each weights file names the cell of each."""


class ValueEncoder(nn.Module):
    """Lists the values of samples: x [B, C, *S] -> [B, P, 1] in the order `cells`, the cell of each position [P]."""

    cells: Tensor

    def __init__(self, cells: Tensor) -> None:
        super().__init__()
        self.register_buffer("cells", cells, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x.flatten(1)[:, self.cells].unsqueeze(-1)


class ValueDecoder(nn.Module):
    """Puts values back into their cells: [B, P, 1] -> x [B, C, *S]; [B, 2P, 1], the second half says which are known.

    Of what is not known, each cell takes the value of the nearest known cell above, else to the left; see `neighbours`.

    Args:
        cells: [P], the cell of each position.
        shape: (C, *S).
        around: [P], the cell whose value each cell takes, see `neighbours`; None: missing values stay as they are.
    """

    positions: Tensor
    source: Tensor | None

    def __init__(self, cells: Tensor, shape: Sequence[int], around: Tensor | None) -> None:
        super().__init__()
        self.shape = tuple(shape)
        positions = torch.empty_like(cells)
        positions[cells] = torch.arange(len(cells))
        self.register_buffer("positions", positions, persistent=False)
        source = None if around is None else positions[around[cells]]
        self.register_buffer("source", source, persistent=False)
        self.doublings = 0 if source is None else _doublings(source)

    def forward(self, latent: Tensor) -> Tensor:
        """See the class; what is known is a prefix of each row."""
        values = latent.squeeze(-1)
        if self.source is not None:
            values, known = values.chunk(2, 1)
            values = self._filled(values, known.sum(1).long(), self.source)
        return values[:, self.positions].unflatten(1, self.shape)

    def _filled(self, values: Tensor, lengths: Tensor, source: Tensor) -> Tensor:
        """`values` [B, P], of which the first `lengths` [B] of each row are known, with the others filled in."""
        different, rows = lengths.unique(return_inverse=True)
        positions = torch.arange(values.shape[1], device=values.device)
        found = torch.where(positions < different[:, None], positions, source)
        for _ in range(self.doublings):
            found = found.gather(1, found)
        return values.gather(1, found[rows])


def _doublings(source: Tensor) -> int:
    """How often `source` is followed, each time twice as far as before, until all positions lead to the first."""
    doublings = 0
    while source.any():
        source, doublings = source[source], doublings + 1
    return doublings


def order_of(config: AutoencoderConfig, shape: Sequence[int]) -> tuple[int, ...]:
    """The cell of each position among the values of samples of `shape` (C, *S); of bits, those of one plane.

    Raises:
        ConfigError: `config.slices` does not divide the sizes, or there are too many values.
    """
    channels, *sizes = shape
    planes = ((config.quantizer.codebook_size or 1) - 1).bit_length() if config.value_order == "bits" else 1
    codes, named = planes * math.prod(shape), channels > 1 or config.scale > 1
    most = _MOST_NAMED if named else MOST_CODES
    if codes > most:
        raise ConfigError(
            f"autoencoder.kind=identity makes {codes:,} codes of a sample of {'x'.join(map(str, shape))} values, more "
            f"than {most:,}{', the most that are put in order' if named else ''}: use smaller samples"
        )
    if config.value_order == "subscale":
        return subscale_order(channels, tuple(sizes), config.scale)
    if config.value_order == "multiscale":
        return multiscale_order(channels, tuple(sizes), config.scale)
    return raster_order(channels, tuple(sizes))


def neighbours(shape: Sequence[int], order: str = "raster", scale: int = 1) -> Tensor:
    """For each cell [P] of samples of `shape` (C, *S), the cell whose value it takes if its own is missing.

    In a raster that is the cell above, else the one to the left, else the same of the channel before; the first cell
    takes its own. In the other orders cells of the first, smallest picture look as far as its cells are apart, `scale`.
    All others look above or to the left within their block of cells that the picture before theirs has one cell for, in
    a subscale order by one cell. So each cell stands after the one whose value it takes, and what is missing repeats
    the nearest known cell of its block.

    Args:
        shape: (C, *S).
        order: of the values, see `AutoencoderConfig`.
        scale: how far cells of the smallest picture are apart; 1 in a raster.
    """
    channels, *sizes = shape
    found = torch.arange(math.prod(sizes))
    at = torch.unravel_index(found, sizes) if sizes else ()
    step, block = torch.ones_like(found), torch.full_like(found, scale)
    if order == "multiscale":
        # The first picture that a cell is in has cells as far apart as the largest power of two that divides its place.
        every = functools.reduce(torch.bitwise_or, at, block)
        step = every & -every
        block = torch.where(step == scale, scale, 2 * step)
    strides = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    looking = torch.ones_like(found, dtype=torch.bool)
    for inside in (True, False):
        for axis, stride in zip(at, strides, strict=True):
            here = looking & (axis % block > 0 if inside else axis >= scale)
            found = torch.where(here, found - stride * (step if inside else scale), found)
            looking &= ~here
    whole = found + len(found) * torch.arange(channels).unsqueeze(-1)  # [C, prod(S)]
    whole[1:, 0] -= len(found)
    return whole.flatten()


def prefix_in_words(config: AutoencoderConfig, shape: Sequence[int]) -> str:
    """What samples of `shape` (C, *S) of only some of their codes are, for people."""
    pictures = len(shape) == 3
    rest = "by neighbours" if config.fills_in else "zeros"
    if config.value_order == "raster":
        return f"{'upper rows' if pictures else 'the beginning'}; the rest {rest}"
    if config.value_order == "bits":
        return f"fewer bits of every value; where there are none yet, {rest}"
    if config.fills_in:
        return f"a smaller {'picture' if pictures else 'sample'}, scaled up"
    return f"a smaller {'picture' if pictures else 'sample'}, with zeros between its values"
