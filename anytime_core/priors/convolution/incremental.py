"""What convolutional priors share, one position at a time.

W is the width of inputs, and S the number of channels that the blocks leave.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anytime_core.priors.convolution.layers import SteppedConvolution, copied, transposed
from anytime_core.priors.sequence.incremental import IncrementalNetwork, State
from anytime_core.priors.stepping import Position

if TYPE_CHECKING:
    from anytime_core.priors.convolution.model import ConvolutionPrior


class IncrementalConvolutions(IncrementalNetwork):
    """See `IncrementalNetwork`. The state is the ring of each block.

    Args:
        prior: the prior.
        dtype: of the copies of its weights.

    Attributes:
        convolutions: that of each block.
    """

    convolutions: Sequence[SteppedConvolution]

    def __init__(self, prior: ConvolutionPrior, dtype: torch.dtype) -> None:
        self.mix, self.mix_bias = transposed(prior.mix, dtype), copied(prior.mix.bias, dtype)

    def state(self, batch: int, length: int) -> State:
        """See `IncrementalNetwork`."""
        return tuple(convolution.ring(batch, length) for convolution in self.convolutions)

    def features(self, x: Tensor, state: State, position: Position) -> Tensor:
        """See `IncrementalNetwork`."""
        return torch.addmm(self.mix_bias, self.stream(x, state, position).relu_(), self.mix).relu_()

    @abstractmethod
    def stream(self, x: Tensor, state: State, position: Position) -> Tensor:
        """The input [B, W] at `position` -> what the blocks make of it, [B, S], which may be overwritten."""
