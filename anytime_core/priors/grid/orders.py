"""Orders of the values of a grid: the number of the cell, in row-major order, of each position.

[C, *S] is the shape of the grid: C values in each cell of S.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable

from anytime_core.errors import ConfigError


def raster_order(channels: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The number of the cell in [C, *S], row-major, of each position in raster order."""
    places = math.prod(shape)
    return tuple(channel * places + place for place in range(places) for channel in range(channels))


def subscale_order(channels: int, shape: tuple[int, ...], slices: int) -> tuple[int, ...]:
    """The number of the cell in [C, *S], row-major, of each position in subscale order.

    A slice is every `slices`-th row and column, from one of the first `slices` rows and columns on. Slice follows
    slice in row-major order of where they begin, and the cells of a slice, with their C values in turn, stand in raster
    order: so the first slice is a smaller picture (Menick and Kalchbrenner 2018, figure 1).

    Raises:
        ConfigError: `slices` does not divide the sizes of `shape`, or slices have one cell each, which is a raster.
    """
    _check_slices(shape, slices, range(1, slices_at_most(shape) + 1))
    firsts = itertools.product(range(slices), repeat=len(shape))
    return _each_value(channels, shape, [(first, slices) for first in firsts])


def multiscale_order(channels: int, shape: tuple[int, ...], scale: int) -> tuple[int, ...]:
    """The number of the cell in [C, *S], row-major, of each position in multiscale order.

    First comes every `scale`-th row and column, in raster order. Each doubling then adds the cells between those
    that are there in groups: upper right, lower left, and lower right of each 2 x 2 cells (Reed et al. 2017, figure 2).
    So a prefix that ends with a doubling is the whole picture at that size. With `scale` 2 it is the subscale order.

    Raises:
        ConfigError: `scale` is no power of two, or does not divide the sizes of `shape`.
    """
    if scale & (scale - 1):
        raise ConfigError(f"a scale of {scale} is not doubled to 1: use a power of two, such as 2 or 4")
    _check_slices(shape, scale, [2**doublings for doublings in range(min(shape).bit_length())])
    return _each_value(channels, shape, multiscale_groups(len(shape), scale))


def multiscale_groups(axes: int, scale: int) -> list[tuple[tuple[int, ...], int]]:
    """Where each group of `multiscale_order` begins and its stride: the smallest picture, then those of doublings."""
    groups = [((0,) * axes, scale)]
    for stride in (scale >> doubling for doubling in range(scale.bit_length() - 1)):
        groups += [(first, stride) for first in itertools.product((0, stride // 2), repeat=axes) if any(first)]
    return groups


def _each_value(channels: int, shape: tuple[int, ...], parts: Iterable[tuple[tuple[int, ...], int]]) -> tuple[int, ...]:
    """The number in [C, *S] of each value of each part, a part being every `stride`-th cell from `first` on."""
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    places = [
        sum(at * step for at, step in zip(cell, strides, strict=True))
        for first, stride in parts
        for cell in itertools.product(*(range(begin, size, stride) for begin, size in zip(first, shape, strict=True)))
    ]
    return tuple(channel * math.prod(shape) + place for place in places for channel in range(channels))


def slices_at_most(shape: tuple[int, ...]) -> int:
    """How many slices a side a grid of `shape` may be cut into, if its sizes allow it; a slice is more than a cell."""
    return max(1, min(*shape, max(shape) - 1))


def _check_slices(shape: tuple[int, ...], slices: int, possible: Iterable[int]) -> None:
    """Raise ConfigError unless `slices` is one of the `possible` numbers that divide each size of `shape`."""
    fitting = [number for number in possible if not any(size % number for size in shape)]
    if slices not in fitting:
        wanted = [str(number) for number in fitting if number > 1]
        way_out = f"use {', '.join(wanted)}" if wanted else "use autoencoder.order=raster, as only 1 does"
        what = "do not divide" if any(size % slices for size in shape) else "leave a cell each of"
        raise ConfigError(f"{slices} slices a side {what} a grid of {'x'.join(map(str, shape))} cells: {way_out}")
