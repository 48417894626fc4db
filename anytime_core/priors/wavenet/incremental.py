"""WaveNet, one position at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from anytime_core.priors.convolution.incremental import IncrementalConvolutions
from anytime_core.priors.convolution.layers import SteppedConvolution, transposed
from anytime_core.priors.sequence.incremental import State
from anytime_core.priors.stepping import Position

if TYPE_CHECKING:
    from anytime_core.priors.wavenet.model import WaveNetPrior


class IncrementalWaveNet(IncrementalConvolutions):
    """See `IncrementalConvolutions`.

    Args:
        prior: the prior.
        dtype: of the copies of its weights.
    """

    def __init__(self, prior: WaveNetPrior, dtype: torch.dtype) -> None:
        super().__init__(prior, dtype)
        self.convolutions = [SteppedConvolution(block.gates, dtype) for block in prior.blocks]
        self.outputs = [transposed(block.outputs, dtype) for block in prior.blocks]

    def stream(self, x: Tensor, state: State, position: Position) -> Tensor:
        """See `IncrementalConvolutions`."""
        width = x.shape[1]
        stream = F.pad(x, (0, len(self.mix)))
        for convolution, outputs, ring in zip(self.convolutions, self.outputs, state, strict=True):
            gates = convolution.step(stream[:, :width], ring, position)
            gates[:, :width].tanh_()
            stream = torch.addmm(stream[:, -outputs.shape[1] :], F.glu(gates), outputs)
        return stream
