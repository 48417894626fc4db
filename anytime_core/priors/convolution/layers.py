"""Causal dilated convolution of sequences, for all positions at once and for one position after another.

n is a prefix length, C the number of channels that a convolution reads, F that of those it writes, and t how many of
its taps are used.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anytime_core.priors.stepping import Position


class CausalConvolution(nn.Linear):
    """A convolution that sees its own position and positions before it, [B, n, C] -> [B, n, F].

    Its input is zero before the first position. Its weight is [F, kernel C], with the newest tap first.

    Args:
        channels: C.
        features: F.
        kernel: its taps.
        dilation: the distance between taps, in positions.
    """

    def __init__(self, channels: int, features: int, kernel: int, dilation: int) -> None:
        super().__init__(kernel * channels, features)
        self.channels, self.kernel, self.dilation = channels, kernel, dilation
        nn.init.normal_(self.weight, std=self.in_features**-0.5)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, n, C] -> [B, n, F]."""
        distances = range(self.dilation, self.dilation * self.taps(x.shape[1]), self.dilation)
        taps = torch.cat([x, *(F.pad(x, (0, 0, distance, -distance)) for distance in distances)], -1)
        return F.linear(taps, self.weight[:, : taps.shape[-1]], self.bias)

    def taps(self, length: int) -> int:
        """t, the taps that reach back fewer than `length` positions; all others see zeros only."""
        return min(self.kernel, -(-length // self.dilation))


class SteppedConvolution:
    """A causal convolution of one position after another, by a ring buffer of its inputs.

    The ring is [B, dilation, (t - 1) C]: slot i has the last t - 1 inputs at positions that leave the remainder i when
    divided by the dilation, the newest first. It is zero at the beginning, as inputs before the first position are.

    Args:
        convolution: the convolution.
        dtype: of the copies of its weights.
    """

    def __init__(self, convolution: CausalConvolution, dtype: torch.dtype) -> None:
        self.convolution = convolution
        matrix, self.bias = transposed(convolution, dtype), copied(convolution.bias, dtype)
        inputs = range(convolution.channels, len(matrix) + 1, convolution.channels)
        self.matrices = {used: matrix[:used] for used in inputs}

    def ring(self, batch: int, length: int) -> Tensor:
        """The ring of a new batch of `length` positions."""
        earlier = (self.convolution.taps(length) - 1) * self.convolution.channels
        return self.bias.new_zeros(batch, self.convolution.dilation, earlier)

    def step(self, x: Tensor, ring: Tensor, position: Position) -> Tensor:
        """The input [B, C] at `position` -> [B, F]; `ring` is changed in place."""
        taps = through_ring(x, ring, position) if ring.shape[2] else x
        return torch.addmm(self.bias, taps, self.matrices[taps.shape[1]])


def through_ring(x: Tensor, ring: Tensor, position: Position) -> Tensor:
    """Put the input [B, C] at `position` into the ring -> [B, t C], the input and those that its slot had."""
    slot = position % ring.shape[1]
    if isinstance(slot, int):
        earlier = ring.select(1, slot)
        taps = torch.cat([x, earlier], 1)
        earlier.copy_(taps.narrow(1, 0, ring.shape[2]))
        return taps
    taps = torch.cat([x, ring.index_select(1, slot).squeeze(1)], 1)
    ring.index_copy_(1, slot, taps.narrow(1, 0, ring.shape[2]).unsqueeze(1))
    return taps


def kept_numbers(network: nn.Module, length: int) -> int:
    """The size of all rings of one sequence of `length` positions."""
    convolutions = [layer for layer in network.modules() if isinstance(layer, CausalConvolution)]
    return sum(layer.dilation * (layer.taps(length) - 1) * layer.channels for layer in convolutions)


def transposed(layer: nn.Linear, dtype: torch.dtype) -> Tensor:
    """A copy of the layer's weight [F, C] -> [C, F]."""
    return layer.weight.detach().T.to(dtype, copy=True).contiguous()


def copied(weights: Tensor, dtype: torch.dtype) -> Tensor:
    """A copy of weights."""
    return weights.detach().to(dtype, copy=True)
