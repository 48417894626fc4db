"""One doubling of a picture: the groups of cells between those that are there.

[C, *P] is the shape of a group, E how many numbers stand for a value, F how many features of it there are, Q the
numbers that stand for a label, A = 2^axes, m the number of groups, n that of values.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from anytime_core.priors.grid.layout import in_raster_order
from anytime_core.priors.grid.network import make_head
from anytime_core.priors.grid.part_embedder import PartEmbedder
from anytime_core.priors.multiscale.config import MultiscaleConfig
from anytime_core.quantizers.base import CodeSpec


class Doubling(nn.Module):
    """Says how the values of a group are distributed, all at once, given the picture before and earlier groups.

    Args:
        config: sizes and head.
        spec: what the values are.
        channels: C.
        shape: P.
        numbers: E.
        told: Q; 0: there is no label.

    Attributes:
        in_group: how many values a group has.
        values: how many values all groups of the doubling have.
    """

    def __init__(
        self,
        config: MultiscaleConfig,
        spec: CodeSpec,
        channels: int,
        shape: tuple[int, ...],
        *,
        numbers: int,
        told: int,
    ) -> None:
        super().__init__()
        axes = len(shape)
        self.channels, self.shape, self.numbers = channels, shape, numbers
        self.in_group = channels * math.prod(shape)
        self.values = (2**axes - 1) * self.in_group
        self.embedder = PartEmbedder(
            2**axes, channels * numbers, channels * config.width, config.width, config.blocks, axes=axes, told=told
        )
        self.in_cell = nn.Linear(channels * numbers, config.width, bias=False) if channels > 1 else None
        self.head = make_head(config, spec, config.width, channels)

    def features(self, parts: Tensor, which: Tensor, label: Tensor | None) -> Tensor:
        """Features of the values of groups, without those of their own cell.

        Args:
            parts: [B, A, C * E, *P], the picture and the groups; unknown ones do not matter.
            which: [m], the groups, from 1.
            label: [B, Q]; None if Q is 0.

        Returns:
            [B, m * in_group, F], of one group after another.
        """
        found = self.embedder(parts, which.expand(len(parts), -1), label)
        return in_raster_order(found, self.channels, len(self.shape)).unflatten(0, (len(parts), -1)).flatten(1, 2)

    def beside(self, features: Tensor, before: Tensor) -> Tensor:
        """Features [..., F] that also know the values `before` [..., C * E] them in their cell."""
        return torch.relu(features if self.in_cell is None else features + self.in_cell(before))

    def earlier(self, before: Tensor) -> Tensor:
        """The same as numbers for the head, [..., C]: zeros where values do not lie on a line."""
        return before if self.numbers == 1 else before.new_zeros(*before.shape[:-1], self.channels)
