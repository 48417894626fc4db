"""A transformer prior's weights, with everything folded together that only training needs apart.

W is the width, F the width of the feed-forward layer, E the size of a head, and G the number of key-value heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from anytime_core.priors.sequence.weights import EndWeights, fold_ends
from anytime_core.priors.transformer.model import TransformerBlock, TransformerPrior
from anytime_core.priors.transformer.patterns import Pattern


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
class FoldedWeights(EndWeights):
    """Everything that drawing codes needs of a prior.

    Attributes:
        heads: the number of attention heads.
        kv_heads: G, the number of heads of keys and values; attention head h reads key-value head h // (heads // G).
        epsilon: the epsilon of the normalisations.
        layers: the blocks.
        patterns: what each of them attends to.
    """

    heads: int
    kv_heads: int
    epsilon: float
    layers: tuple[LayerWeights, ...]
    patterns: tuple[Pattern, ...]

    @property
    def bytes(self) -> int:
        """Of the matrices of all layers, which every step reads."""
        parts = (part for layer in self.layers for part in vars(layer).values())
        return sum(matrix.nbytes for matrix, _ in parts)

    @property
    def head_size(self) -> int:
        """E."""
        return self.width // self.heads

    @property
    def hidden(self) -> int:
        """F."""
        return self.layers[0].expand[1].shape[0]


@torch.no_grad()
def fold(prior: TransformerPrior, dtype: torch.dtype) -> FoldedWeights:
    """The weights of `prior` on its device, folded in float32 and then copied to `dtype`."""
    scale = (prior.config.width // prior.heads) ** -0.5

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

    ends = fold_ends(prior, dtype, norm=prior.norm)
    return FoldedWeights(
        start=ends.start,
        positions=ends.positions,
        table=ends.table,
        head=ends.head,
        per_position=ends.per_position,
        heads=prior.heads,
        kv_heads=prior.kv_heads,
        epsilon=prior.norm.eps,
        layers=tuple(layer(block) for block in prior.blocks),
        patterns=prior.patterns,
    )


def _parts(linear: nn.Linear) -> tuple[Tensor, Tensor]:
    return linear.weight.T.contiguous(), linear.bias


def _after_norm(norm: nn.LayerNorm, linear: nn.Linear) -> tuple[Tensor, Tensor]:
    """Matrix [in, out] and bias: they do to a plainly normalised input what `linear` does after `norm`."""
    return (linear.weight * norm.weight).T.contiguous(), linear.bias + linear.weight @ norm.bias
