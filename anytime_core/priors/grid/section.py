"""What a config may say of every prior of values on a grid."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from anytime_core.display import counted
from anytime_core.errors import ConfigError
from anytime_core.priors.section import PriorSection
from anytime_core.value_networks import NETWORKS, AnyNetwork, NetworkSection, ValueGrid

if TYPE_CHECKING:
    from anytime_core.quantizers.base import CodeSpec


class GridSection(PriorSection):
    """The settings that all priors of values on a grid have in common."""

    network: AnyNetwork = Field(None, description="the network over values, one that the modality offers")
    head: Literal["softmax", "logistics"] = Field(
        "softmax",
        description="softmax: a probability of its own for each value; logistics: a mixture of logistic distributions, "
        "for values on a line",
    )
    mixtures: int = Field(10, ge=1, le=1000, description="if head is logistics: how many of them are mixed")
    embedding: int = Field(
        32, ge=1, le=2**14, description="numbers that stand for a value where values do not lie on a line"
    )
    condition: int = Field(32, ge=1, le=2**14, description="channels that tell the network the label")
    label_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the labels that are hidden in training; guidance needs it, and 0.1 is usual",
    )

    def check(self, spec: CodeSpec) -> None:
        """Raise ConfigError if there is no network, or the codes are not values that it can model."""
        super().check(spec)
        if self.head == "logistics" and spec.levels is None:
            raise ConfigError(
                "prior.head=logistics needs values on a line, such as pixels, and these codes are mere names: use "
                "softmax, or autoencoder.kind=identity"
            )
        self.chosen().check(self.value_grid(spec))

    def chosen(self) -> NetworkSection:
        """The network's section. Raises ConfigError if none is chosen."""
        if self.network is None:
            raise ConfigError(f"prior.kind={self.kind} needs a network as prior.network.kind: {NETWORKS.choices()}")
        return self.network

    def value_grid(self, spec: CodeSpec) -> ValueGrid:
        """The grid of the codes that `spec` describes; codes in another order than that of a raster are refused.

        Raises:
            ConfigError: they have no such grid.
        """
        return raster_grid(spec, self.kind, NETWORKS[self.chosen().kind].axes)


def raster_grid(spec: CodeSpec, kind: str, axes: int) -> ValueGrid:
    """The grid of codes that stand in raster order.

    Args:
        spec: what the codes are.
        kind: of the prior, for messages.
        axes: how many dimensions the network goes over.

    Raises:
        ConfigError: they have another grid, or stand in another order.
    """
    channels, shape = cells_of(spec, kind, axes)
    if (spec.order or tuple(range(math.prod(spec.grid)))) != raster_order(channels, shape):
        raise ConfigError(
            f"prior.kind={kind} draws the values of a grid in raster order, and these codes stand in another one: use "
            "autoencoder.order=raster, or another kind of prior"
        )
    return ValueGrid(channels, shape)


def cells_of(spec: CodeSpec, kind: str, axes: int) -> tuple[int, tuple[int, ...]]:
    """C and S of the grid of codes. Raises ConfigError if S has not as many dimensions as `axes` says."""
    grid = spec.grid
    if len(grid) == axes:
        grid = (1, *grid)
    if len(grid) == axes + 2:
        raise ConfigError(
            f"prior.kind={kind} models whole values, and these codes are bits of them or stages of a quantizer, on a "
            f"grid of {'x'.join(map(str, grid))}: use autoencoder.order=raster or a quantizer of one stage, or another "
            "kind of prior"
        )
    if len(grid) != axes + 1:
        wanted = "a grid of rows and columns" if axes == 2 else f"a grid of {counted(axes, 'dimensions')}"
        raise ConfigError(
            f"prior.kind={kind} models values on {wanted}, and the grid of these codes is "
            f"{'x'.join(map(str, spec.grid))}: use autoencoder.kind=identity for the values of a sample or "
            "autoencoder.axis=spatial, or another kind of prior"
        )
    return grid[0], grid[1:]


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
