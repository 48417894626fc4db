"""ByteNet's decoder, one position at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from anytime_core.priors.bytenet.blocks import ByteNetBlock, multiplicative_unit
from anytime_core.priors.convolution.layers import SteppedConvolution, copied, transposed
from anytime_core.priors.sequence.incremental import IncrementalNetwork, State
from anytime_core.priors.stepping import Position

if TYPE_CHECKING:
    from anytime_core.priors.bytenet.model import ByteNetPrior


class IncrementalByteNet(IncrementalNetwork):
    """See `IncrementalNetwork`. Its state is the ring of each block.

    Args:
        prior: the prior.
        dtype: of the copies of its weights.
    """

    def __init__(self, prior: ByteNetPrior, dtype: torch.dtype) -> None:
        self.blocks = [_Block(block, dtype) for block in prior.blocks]
        self.norm = _Norm(prior.norm, dtype)
        self.mix, self.mix_bias = transposed(prior.mix, dtype), copied(prior.mix.bias, dtype)

    def state(self, batch: int, length: int) -> State:
        """The rings of a new batch."""
        return tuple(block.convolution.ring(batch, length) for block in self.blocks)

    def features(self, x: Tensor, state: State, position: Position) -> Tensor:
        """The input [B, 2 C] at `position` -> its features [B, 2 C]."""
        for block, ring in zip(self.blocks, state, strict=True):
            x = block.step(x, ring, position)
        return torch.addmm(self.mix_bias, self.norm.rectified(x), self.mix).relu_()


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

    def rectified(self, x: Tensor) -> Tensor:
        return torch.layer_norm(x, x.shape[-1:], self.weight, self.bias, self.epsilon).relu_()
