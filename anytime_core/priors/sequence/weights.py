"""The weights around the network of a sequence prior, with everything folded together that only training needs apart.

n is a prefix length, W the width of inputs, F the number of features of a position.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from anytime_core.priors.sequence.model import SequencePrior

_Made = TypeVar("_Made")


@dataclass(frozen=True, eq=False)
class EndWeights:
    """What makes inputs of codes, and logits of features.

    Attributes:
        start: [classes or 1, W], the label embeddings.
        positions: [N, W], the position embeddings.
        table: position -> [K, W], what a code at `position` adds to the next input; made once and kept.
        head: position -> matrix [F, K] and bias [K] that give the logits of the code at `position`; made once and kept.
        per_position: whether tables and heads differ from position to position.
    """

    start: Tensor
    positions: Tensor
    table: Callable[[int], Tensor]
    head: Callable[[int], tuple[Tensor, Tensor]]
    per_position: bool
    _made: dict[Hashable, Any] = field(default_factory=dict, init=False)

    def once(self, key: Hashable, make: Callable[[], _Made]) -> _Made:
        """The result of `make`, made once for these weights, such as the form in which some kernels read them."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    @property
    def on_cpu(self) -> bool:
        """Whether they are on the CPU."""
        return self.positions.device.type == "cpu"

    @property
    def width(self) -> int:
        """W."""
        return self.positions.shape[1]

    def first_input(self, labels: Tensor | None, batch: int) -> Tensor:
        """The label embedding of each sequence, [B, W]; `labels` [B], None for an unconditional prior."""
        return self.start.expand(batch, -1) if labels is None else self.start[labels]

    def stacked(self) -> StackedEnds:
        """The same weights for positions that are read from device memory; made once and kept."""
        return self.once(StackedEnds, lambda: _stacked(self))


@dataclass(frozen=True, eq=False)
class StackedEnds:
    """The weights around a network as one step reads them at any position, which is int64 [1].

    Attributes:
        tables: [1 or N, K, W], what a code at each position adds to the next input; one if all are the same.
        matrices, biases: [1 or N, F, K], with the features of one value side by side in memory, and [1 or N, K].
    """

    tables: Tensor
    matrices: Tensor
    biases: Tensor

    def head(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Matrix [F, K] and bias [K] of the code at `position`."""
        if len(self.matrices) == 1:
            return self.matrices[0], self.biases[0]
        return self.matrices.mT.index_select(0, position)[0].T, self.biases.index_select(0, position)[0]


def _stacked(ends: EndWeights) -> StackedEnds:
    positions = range(len(ends.positions) if ends.per_position else 1)
    matrices, biases = zip(*map(ends.head, positions), strict=True)
    return StackedEnds(
        tables=torch.stack([ends.table(position) for position in positions]),
        matrices=torch.stack([matrix.T for matrix in matrices]).mT,
        biases=torch.stack(biases),
    )


def input_at(first_input: Tensor, positions: Tensor, tables: Tensor, position: Tensor, previous: Tensor) -> Tensor:
    """The input at a position that is read from device memory.

    Args:
        first_input: [B, W].
        positions: [N, W], the position embeddings.
        tables: [1 or N, K, W].
        position: int64 [1].
        previous: the codes before it, int64 [B]; at position 0 anything.

    Returns:
        [B, W].
    """
    later = position > 0
    table = (position - 1) * tables.shape[1] if len(tables) > 1 else 0
    embedded = tables.flatten(0, 1).index_select(0, (previous + table) * later)
    return embedded * later + first_input + positions.index_select(0, position)


@torch.no_grad()
def fold_ends(
    prior: SequencePrior,
    dtype: torch.dtype,
    *,
    first: tuple[Tensor, Tensor] | None = None,
    norm: nn.LayerNorm | None = None,
) -> EndWeights:
    """The weights around the network of `prior`, on its device, folded in float32 and then copied to `dtype`.

    Args:
        prior: the prior.
        dtype: of the copies.
        first: weight [O, W] and bias [O] of a linear layer that all inputs go through, which is folded into them, so
            that O takes the place of W; None: there is none.
        norm: a normalisation of features, whose scale and bias are folded into the head; None: there is none.
    """
    vectors = prior.vectors
    per_position = vectors is not None and vectors.ndim == 3

    def copied(weights: Tensor) -> Tensor:
        return weights.detach().to(dtype, copy=True)

    def through_first(inputs: Tensor) -> Tensor:
        return inputs if first is None else F.linear(inputs, first[0])

    token, positions = through_first(prior.token.weight), through_first(prior.positions())
    if first is not None:
        positions = positions + first[1]
    if vectors is not None:
        from_vector = through_first(prior.from_vector.weight.T).T, through_first(prior.from_vector.bias)

    @cache
    @torch.no_grad()
    def table(position: int) -> Tensor:
        if vectors is None:
            return copied(token)
        return copied(token + F.linear(vectors[position] if per_position else vectors, *from_vector))

    @cache
    @torch.no_grad()
    def head(position: int) -> tuple[Tensor, Tensor]:
        weight: Tensor = prior.head.weight
        bias: Tensor = prior.head.bias
        if vectors is not None and prior.vectors_at_output:
            weight = weight + (vectors[position] if per_position else vectors) @ prior.to_vector.weight
        if norm is not None:
            weight, bias = weight * norm.weight, bias + weight @ norm.bias
        return weight.T.to(dtype, copy=True).contiguous(), bias.to(dtype, copy=True)

    return EndWeights(
        start=copied(through_first(prior.start.weight)),
        positions=copied(positions),
        table=lambda position: table(position if per_position else 0),
        head=lambda position: head(position if per_position else 0),
        per_position=per_position,
    )
