"""ByteNet's decoder, one position at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from anytime_core.priors.bytenet.blocks import ByteNetBlock, multiplicative_unit
from anytime_core.priors.convolution.incremental import IncrementalConvolutions
from anytime_core.priors.convolution.layers import SteppedConvolution, copied, transposed
from anytime_core.priors.sequence.incremental import State
from anytime_core.priors.stepping import Position

if TYPE_CHECKING:
    from anytime_core.priors.bytenet.model import ByteNetPrior


class IncrementalByteNet(IncrementalConvolutions):
    """See `IncrementalConvolutions`.

    Args:
        prior: the prior.
        dtype: of the copies of its weights.
    """

    def __init__(self, prior: ByteNetPrior, dtype: torch.dtype) -> None:
        super().__init__(prior, dtype)
        self.blocks = [_Block(block, dtype) for block in prior.blocks]
        self.convolutions = [block.convolution for block in self.blocks]
        self.norm = _Norm(prior.norm, dtype)

    def stream(self, x: Tensor, state: State, position: Position) -> Tensor:
        """See `IncrementalConvolutions`."""
        for block, ring in zip(self.blocks, state, strict=True):
            x = block.step(x, ring, position)
        return self.norm.apply(x)


class _Block:
    def __init__(self, block: ByteNetBlock, dtype: torch.dtype) -> None:
        self.multiplicative = block.multiplicative
        self.norms = [_Norm(norm, dtype) for norm in (block.before, block.inside, block.after)]
        self.reduce, self.reduce_bias = transposed(block.reduce, dtype), copied(block.reduce.bias, dtype)
        self.convolution = SteppedConvolution(block.convolution, dtype)
        self.expand = transposed(block.expand, dtype)

    def step(self, x: Tensor, ring: Tensor, position: Position) -> Tensor:
        before, inside, after = self.norms
        hidden = inside.rectified(torch.addmm(self.reduce_bias, before.rectified(x), self.reduce))
        found = self.convolution.step(hidden, ring, position)
        hidden = multiplicative_unit(hidden, found) if self.multiplicative else found
        return torch.addmm(x, after.rectified(hidden), self.expand)


class _Norm:
    def __init__(self, norm: nn.LayerNorm, dtype: torch.dtype) -> None:
        self.weight, self.bias, self.epsilon = copied(norm.weight, dtype), copied(norm.bias, dtype), norm.eps

    def apply(self, x: Tensor) -> Tensor:
        return torch.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.epsilon)

    def rectified(self, x: Tensor) -> Tensor:
        return self.apply(x).relu_()
