"""WaveNet, one position at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from anytime_core.priors.convolution.layers import SteppedConvolution, copied, transposed
from anytime_core.priors.sequence.incremental import IncrementalNetwork, State
from anytime_core.priors.stepping import Position

if TYPE_CHECKING:
    from anytime_core.priors.wavenet.model import WaveNetPrior


class IncrementalWaveNet(IncrementalNetwork):
    """See `IncrementalNetwork`. Its state is the ring of each block.

    Args:
        prior: the prior.
        dtype: of the copies of its weights.
    """

    def __init__(self, prior: WaveNetPrior, dtype: torch.dtype) -> None:
        self.blocks = [
            (SteppedConvolution(block.gates, dtype), transposed(block.outputs, dtype)) for block in prior.blocks
        ]
        self.mix, self.mix_bias = transposed(prior.mix, dtype), copied(prior.mix.bias, dtype)

    def state(self, batch: int, length: int) -> State:
        """The rings of a new batch."""
        return tuple(gates.ring(batch, length) for gates, _ in self.blocks)

    def features(self, x: Tensor, state: State, position: Position) -> Tensor:
        """The input [B, W] at `position` -> its features [B, S]."""
        width = x.shape[1]
        stream = F.pad(x, (0, len(self.mix)))
        for (convolution, outputs), ring in zip(self.blocks, state, strict=True):
            gates = convolution.step(stream[:, :width], ring, position)
            gates[:, :width].tanh_()
            stream = torch.addmm(stream[:, -outputs.shape[1] :], F.glu(gates), outputs)
        return torch.addmm(self.mix_bias, stream.relu_(), self.mix).relu_()
