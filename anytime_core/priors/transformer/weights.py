"""A transformer prior's weights, with everything folded together that only training needs apart.

W is the width, F the width of the feed-forward layer, E the size of a head, and G the number of key-value heads.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from anytime_core.priors.transformer.model import TransformerBlock, TransformerPrior

_Made = TypeVar("_Made")


@dataclass(frozen=True)
class LayerWeights:
    """The weights of one block; matrices are [in, out].

    The scales and biases of normalisations are folded into the matrices after them, and the attention's scale into the
    queries. `to_queries_keys_values` is [W, W + 2 G E]: queries of all heads, then keys, then values.
    """

    to_queries_keys_values: tuple[Tensor, Tensor]
    project: tuple[Tensor, Tensor]
    expand: tuple[Tensor, Tensor]
    shrink: tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class FoldedWeights:
    """Everything that drawing codes needs of a prior.

    Attributes:
        heads: the number of attention heads.
        kv_heads: G, the number of heads of keys and values; attention head h reads head h // (heads // G) of them.
        epsilon: the epsilon of the normalisations.
        start: [classes or 1, W], the class embeddings.
        positions: [N, W], the position embeddings.
        layers: the blocks.
        table: position -> [K, W], what a code at `position` adds to the residual stream; made once and kept.
        head: position -> matrix [W, K] and bias [K] that give the logits of the code at `position`; made once and kept.
        per_position: whether tables and heads differ from position to position.
    """

    heads: int
    kv_heads: int
    epsilon: float
    start: Tensor
    positions: Tensor
    layers: tuple[LayerWeights, ...]
    table: Callable[[int], Tensor]
    head: Callable[[int], tuple[Tensor, Tensor]]
    per_position: bool
    _made: dict[Hashable, Any] = field(default_factory=dict)

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
    def bytes(self) -> int:
        """Of the matrices of all layers, which every step reads."""
        parts = (part for layer in self.layers for part in vars(layer).values())
        return sum(matrix.nbytes for matrix, _ in parts)

    @property
    def width(self) -> int:
        """W."""
        return self.positions.shape[1]

    @property
    def head_size(self) -> int:
        """E."""
        return self.width // self.heads

    @property
    def hidden(self) -> int:
        """F."""
        return self.layers[0].expand[1].shape[0]

    def first_input(self, labels: Tensor | None, batch: int) -> Tensor:
        """The class embedding of each sequence, [B, W]; `labels` [B], None for an unconditional prior."""
        return self.start.expand(batch, -1) if labels is None else self.start[labels]


@torch.no_grad()
def fold(prior: TransformerPrior, dtype: torch.dtype) -> FoldedWeights:
    """The weights of `prior` on its device, folded in float32 and then copied to `dtype`."""
    scale = (prior.position.weight.shape[1] // prior.heads) ** -0.5

    def copied(weights: Tensor) -> Tensor:
        return weights.detach().to(dtype, copy=True)

    def layer(block: nn.Module) -> LayerWeights:
        assert isinstance(block, TransformerBlock)
        matrix, bias = _after_norm(block.attention_norm, block.queries_keys_values)
        width = len(matrix)
        matrix, bias = matrix.clone(), bias.clone()
        matrix[:, :width] *= scale
        bias[:width] *= scale
        parts = (matrix, bias), _parts(block.project), _after_norm(block.feedforward_norm, block.expand)
        return LayerWeights(*((copied(part[0]), copied(part[1])) for part in (*parts, _parts(block.shrink))))

    vectors = prior.vectors
    per_position = vectors is not None and vectors.ndim == 3

    @cache
    @torch.no_grad()
    def table(position: int) -> Tensor:
        weight = prior.token.weight
        if vectors is not None:
            weight = weight + prior.from_vector(vectors[position] if per_position else vectors)
        return copied(weight)

    @cache
    @torch.no_grad()
    def head(position: int) -> tuple[Tensor, Tensor]:
        weight, bias = prior.head.weight, prior.head.bias
        if vectors is not None:
            weight = weight + (vectors[position] if per_position else vectors) @ prior.to_vector.weight
        matrix = (weight * prior.norm.weight).T.contiguous()
        return matrix.to(dtype), (bias + weight @ prior.norm.bias).to(dtype)

    return FoldedWeights(
        heads=prior.heads,
        kv_heads=prior.kv_heads,
        epsilon=prior.norm.eps,
        start=copied(prior.start.weight),
        positions=copied(prior.position.weight),
        layers=tuple(layer(block) for block in prior.blocks),
        table=lambda position: table(position if per_position else 0),
        head=lambda position: head(position if per_position else 0),
        per_position=per_position,
    )


def _parts(linear: nn.Linear) -> tuple[Tensor, Tensor]:
    return linear.weight.T.contiguous(), linear.bias


def _after_norm(norm: nn.LayerNorm, linear: nn.Linear) -> tuple[Tensor, Tensor]:
    """Matrix [in, out] and bias: they do to a plainly normalised input what `linear` does after `norm`."""
    return (linear.weight * norm.weight).T.contiguous(), linear.bias + linear.weight @ norm.bias
