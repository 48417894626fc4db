"""Parallel multiscale autoregressive density estimation (Reed et al., ICML 2017): values of a group at the same time.

The smallest picture is drawn value after value, by a network that a modality offers. Each doubling then adds the cells
between those that are there, in groups: in two dimensions three of them. The cells of a group do not see each other,
only what was drawn before, so one call of a residual network says of all of them how they are distributed. The number
of calls after the smallest picture is 2^axes - 1 for each doubling.

As a model of codes in multiscale order that is a causal prior, in which the codes of a group ignore each other.

[C, *P] is the shape of a group, which is that of the picture before its doubling; n is a prefix length, E how many
numbers stand for a value, F how many features of it there are, Q the numbers that stand for a label, A = 2^axes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as nnf
from torch import Tensor

from anytime_core.priors.grid.heads import ValueHead
from anytime_core.priors.grid.layout import as_planes, before_in_cell, interleaved
from anytime_core.priors.grid.model import GridPrior
from anytime_core.priors.multiscale.config import MultiscaleConfig
from anytime_core.priors.multiscale.doubling import Doubling
from anytime_core.priors.multiscale.stepping import GroupStepper
from anytime_core.quantizers.base import CodeSpec


@dataclass(frozen=True)
class _Stretch:
    """What is said of successive values: their head, features [B, n, F], and what is before them in their cells."""

    head: ValueHead
    features: Tensor
    earlier: Tensor


class MultiscalePrior(GridPrior):
    """Models each value given those before it in multiscale order, but for those of its group, and a label if any.

    The C values of a cell do see each other: green is drawn after red.

    Args:
        config: the network of the smallest picture, the head, and the networks of doublings.
        spec, code_vectors: see `Prior`; code vectors are used where values do not lie on a line.

    Attributes:
        smallest: the number of values of the smallest picture.
        doublings: those that there are any codes of; fewer than all if the prior models only the first codes.
    """

    kind = "multiscale"
    Config = MultiscaleConfig
    config: MultiscaleConfig

    def __init__(self, config: MultiscaleConfig, spec: CodeSpec, code_vectors: Tensor | None = None) -> None:
        told = config.condition if spec.classes else 0
        super().__init__(config, spec, code_vectors)
        grid = self.network.grid
        self.smallest = start = grid.channels * math.prod(grid.shape)
        self.doublings = torch.nn.ModuleList()
        shape = grid.shape
        while start < spec.length:
            doubling = Doubling(config, spec, grid.channels, shape, numbers=self.network.values.size, told=told)
            self.doublings.append(doubling)
            start += doubling.values
            shape = tuple(2 * size for size in shape)

    @property
    def kept_numbers(self) -> int:
        """See `Prior`: what the network of the smallest picture keeps, or the features of the largest group."""
        groups = [doubling.in_group * self.config.width for doubling in self._doublings()]
        return self.code_length + max([self.network_keeps(), *groups])

    def conditionals(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """Logits [B, n + 1, K] of the values at positions 0..n, given the first n, `codes` [B, n]."""
        stretches = self._stretches(codes, labels)
        return torch.cat([part.head.logits(part.features, part.earlier) for part in stretches], 1)

    def log_prob(self, codes: Tensor, labels: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """See `CausalPrior`."""
        stretches = self._stretches(codes[:, :-1], labels)
        each = zip(stretches, codes.split([part.features.shape[1] for part in stretches], 1), strict=True)
        return torch.cat([part.head.log_prob(part.features, part.earlier, own) for part, own in each], 1)

    def group_features(self, codes: Tensor, position: int, label: Tensor | None) -> tuple[Doubling, Tensor]:
        """The doubling of the group that begins at `position`, and features [B, n, F] of its n values.

        Args:
            codes: [B, position], those before it.
            position: where a group begins.
            label: [B, Q]; None if there are no classes.
        """
        values, start = self.network.values(codes), self.smallest
        picture = self._smallest_picture(values)
        for doubling in self._doublings():
            parts = self._parts(picture, values, start, doubling)
            if position < start + doubling.values:
                which = torch.tensor([1 + (position - start) // doubling.in_group], device=codes.device)
                return doubling, doubling.features(parts, which, label)
            picture, start = interleaved(parts), start + doubling.values
        raise ValueError(f"no group begins at position {position}")

    def _doublings(self) -> list[Doubling]:
        return list(self.doublings)  # type: ignore[arg-type]  # torch does not say what a list of modules holds

    def _stretches(self, codes: Tensor, labels: Tensor | None) -> list[_Stretch]:
        """The smallest picture and each doubling up to position n, given the first n codes [B, n]."""
        batch, given = codes.shape
        label, values, wanted = self.label_of(labels, batch), self.network.values(codes), given + 1
        smallest = values[:, : self.smallest]
        features = self.network.features(smallest, self.everywhere(label))
        earlier = self.network.earlier(smallest, features.shape[1])
        found, start = [_Stretch(self.network.head, features, earlier)], self.smallest
        if start < wanted:
            picture = self._smallest_picture(values)
        for doubling in self._doublings():
            if start >= wanted:
                break
            parts = self._parts(picture, values, start, doubling)
            now = min(wanted - start, doubling.values)
            which = torch.arange(1, 1 - -now // doubling.in_group, device=codes.device)
            features = doubling.features(parts, which, label)[:, :now]
            before = before_in_cell(values[:, start : start + doubling.values], doubling.channels, now)
            found.append(_Stretch(doubling.head, doubling.beside(features, before), doubling.earlier(before)))
            picture, start = interleaved(parts), start + doubling.values
        return found

    def _smallest_picture(self, values: Tensor) -> Tensor:
        return as_planes(values[:, : self.smallest], self.network.grid.channels, self.network.grid.shape)

    def _parts(self, picture: Tensor, values: Tensor, start: int, doubling: Doubling) -> Tensor:
        """The picture before a doubling, and the groups that begin at `start`, zeros if unknown: [B, A, C * E, *P]."""
        own = values[:, start : start + doubling.values]
        own = nnf.pad(own, (0, 0, 0, doubling.values - own.shape[1]))
        groups = as_planes(own.unflatten(1, (-1, doubling.in_group)), doubling.channels, doubling.shape)
        return torch.cat([picture.unsqueeze(1), groups], 1)

    def stepper(self, incremental: Any, labels: Tensor | None, batch: int) -> GroupStepper:
        """See `GridPrior`: the values of a group share one call of its network."""
        return GroupStepper(self, incremental, labels, batch)
