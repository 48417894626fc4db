"""What a config may say of every prior of values on a grid."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from anytime_core.display import counted
from anytime_core.errors import ConfigError
from anytime_core.priors.grid.orders import raster_order
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
