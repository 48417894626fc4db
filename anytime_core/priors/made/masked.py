"""Layers of which masks take away connections, and the degrees from which masks follow.

I and O are the inputs and outputs of a layer, H the units of a hidden layer, M the number of assignments of degrees.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MaskedLinear(nn.Module):
    """A linear layer that is given its mask. Weights that are masked get no gradient and have no effect.

    Args:
        inputs, outputs: I and O.
        bias: whether there is one.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[..., i] -> [..., o] by the first i inputs and o outputs, of which `mask` [o, i] says what is connected."""
        outputs, inputs = mask.shape
        bias = None if self.bias is None else self.bias[:outputs]
        return F.linear(x, self.weight[:outputs, :inputs] * mask, bias)

    @torch.no_grad()
    def initialise(self, connected: Tensor, gain: float) -> None:
        """Set the weights of each output to a variance of `gain` by its number of connected inputs, [O]."""
        self.weight.normal_().mul_((gain / connected).sqrt().unsqueeze(1))


def connections(inputs: Tensor, outputs: Tensor) -> Tensor:
    """The mask [O, I] of inputs and outputs with these degrees, [I] and [O]: nothing sees what has a higher degree."""
    return outputs.unsqueeze(1) >= inputs


def assigned_degrees(positions: int, hidden: int, layers: int, assignments: int) -> Tensor:
    """The degrees of hidden units, in 0..`positions` - 1, [M, layers, H].

    In each layer they are spread evenly, not drawn, so that no position is left without units. The first assignment is
    in ascending order; others shift it by parts of the layer that differ from layer to layer.
    """
    evenly = torch.arange(hidden) * positions // hidden
    return torch.stack(
        [
            torch.stack([evenly.roll(number * (layer + 1) * hidden // assignments) for layer in range(layers)])
            for number in range(assignments)
        ]
    )
