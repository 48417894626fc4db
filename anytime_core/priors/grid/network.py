"""A modality's network over values, with core's inputs and distributions around it.

[C, *S] is the shape of the grid, see `anytime_core.value_networks`; E is how many numbers stand for a value, F how many
features of it there are, Q the number of channels of the condition, n a prefix length.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch.nn.functional as nnf
from torch import Tensor, nn

from anytime_core.errors import PluginError
from anytime_core.priors.grid.heads import SoftmaxHead, ValueHead
from anytime_core.priors.grid.layout import as_planes, before_in_cell, in_raster_order
from anytime_core.priors.grid.logistics import LogisticsHead
from anytime_core.priors.grid.section import GridSection
from anytime_core.priors.grid.values import make_values
from anytime_core.quantizers.base import CodeSpec
from anytime_core.value_networks import NETWORKS, Cell, ValueGrid


class GridNetwork(nn.Module):
    """Says of each value of a grid, in raster order, how it is distributed given the values before it.

    Args:
        section: the network and its head.
        spec: what the values are.
        grid: the shape of the grid; E and Q are filled in.
        condition: Q; 0: there is no condition.
        code_vectors: see `Prior`.
    """

    def __init__(
        self,
        section: GridSection,
        spec: CodeSpec,
        grid: ValueGrid,
        *,
        condition: int,
        code_vectors: Tensor | None = None,
    ) -> None:
        super().__init__()
        chosen = section.chosen()
        self.values = make_values(spec, section.embedding, code_vectors)
        self.grid = dataclasses.replace(grid, inputs=self.values.size, condition=condition)
        self.kind = chosen.kind
        self.network: Any = NETWORKS[chosen.kind].build(chosen, self.grid)
        self.head = make_head(section, spec, self.network.features, grid.channels)

    def cell(self, position: int) -> Cell:
        """The place of the value at a position."""
        place, channel = divmod(position, self.grid.channels)
        cell = []
        for size in reversed(self.grid.shape):
            place, at = divmod(place, size)
            cell.append(at)
        return (*reversed(cell), channel)

    def features(self, values: Tensor, condition: Tensor | None) -> Tensor:
        """Features of the values at positions 0..n, as many as there are.

        Args:
            values: [B, n, E], the numbers that stand for the first n values.
            condition: [B, Q, *S]; None if Q is 0.

        Returns:
            [B, n + 1, F], or [B, N, F] if all N values are given.

        Raises:
            PluginError: the network gives features of another shape.
        """
        channels, (rows, *columns) = self.grid.channels, self.grid.shape
        in_row = channels * math.prod(columns)
        batch, given, _ = values.shape
        wanted = min(given + 1, rows * in_row)
        rows = -(-wanted // in_row)  # the network is causal, so rows below may be left out
        x = as_planes(nnf.pad(values, (0, 0, 0, rows * in_row - given)), channels, (rows, *columns))
        found = self.network(x, None if condition is None else condition[:, :, :rows])
        expected = (batch, channels * self.network.features, rows, *columns)
        if found.shape != expected:
            raise PluginError(
                f"{NETWORKS.origin(self.kind)} does not keep its contract: features of values {list(x.shape)} are "
                f"{list(found.shape)}, where they should be {list(expected)}"
            )
        return in_raster_order(found, channels, len(self.grid.shape))[:, :wanted]

    def earlier(self, values: Tensor, positions: int) -> Tensor:
        """The numbers in the cell of each of the first positions that stand before it, [B, positions, C].

        They are zeros where values do not lie on a line. `values` [B, n, E] are the numbers of the first n values.
        """
        channels = self.grid.channels
        if channels == 1 or self.values.size != 1:
            return values.new_zeros(len(values), positions, channels)
        return before_in_cell(values, channels, positions)

    def logits(self, values: Tensor, condition: Tensor | None) -> Tensor:
        """Logits [B, n + 1, K] of the values at positions 0..n; see `features`."""
        features = self.features(values, condition)
        return self.head.logits(features, self.earlier(values, features.shape[1]))

    def log_prob(self, codes: Tensor, condition: Tensor | None) -> Tensor:
        """The log probability of each of the first n values in nats, [B, n]."""
        values = self.values(codes[:, :-1])
        features = self.features(values, condition)
        return self.head.log_prob(features, self.earlier(values, features.shape[1]), codes)


def make_head(section: GridSection, spec: CodeSpec, features: int, channels: int) -> ValueHead:
    """The head that a section chooses, for values that `spec` describes; see `ValueHead` for F and C."""
    assert spec.size is not None  # the section has checked this
    if section.head == "logistics":
        assert spec.levels is not None  # the section has checked this, too
        return LogisticsHead(features, spec.levels, section.mixtures, channels)
    return SoftmaxHead(features, spec.size)
