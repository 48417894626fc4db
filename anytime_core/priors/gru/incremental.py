"""The recurrent prior one position at a time: its state is all that is kept of the codes before.

W is the width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from anytime_core.priors.sequence.incremental import IncrementalNetwork, State
from anytime_core.priors.stepping import Position

if TYPE_CHECKING:
    from anytime_core.priors.gru.model import GRUPrior


class IncrementalGRU(IncrementalNetwork):
    """See `IncrementalNetwork`. The state is that of each layer, [B, W].

    Args:
        prior: the prior whose network it is.
        dtype: of its weights and states.
    """

    @torch.no_grad()
    def __init__(self, prior: GRUPrior, dtype: torch.dtype) -> None:
        def by_input(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
            return bias.to(dtype, copy=True), weight.T.to(dtype, copy=True).contiguous()

        self.layers = [
            (by_input(layer.weight_ih_l0, layer.bias_ih_l0), by_input(layer.weight_hh_l0, layer.bias_hh_l0))
            for layer in prior.recurrent
        ]
        self.to_features = by_input(prior.to_features.weight, prior.to_features.bias)
        self.dual = None if prior.dual is None else prior.dual.copied(dtype)

    def state(self, batch: int, length: int) -> State:
        """See `IncrementalNetwork`."""
        bias, matrix = self.to_features
        return tuple(matrix.new_zeros(batch, len(bias)) for _ in self.layers)

    def features(self, x: Tensor, state: State, position: Position) -> Tensor:
        """See `IncrementalNetwork`."""
        for (from_input, from_state), kept in zip(self.layers, state, strict=True):
            bias, matrix = from_state
            x = kept.copy_(gated(torch.addmm(from_input[0], x, from_input[1]), torch.addmm(bias, kept, matrix), kept))
        bias, matrix = self.to_features
        return F.relu(torch.addmm(bias, x, matrix))

    def logits(self, outputs: Tensor) -> Tensor:
        """See `IncrementalNetwork`."""
        return outputs if self.dual is None else self.dual(outputs)


def gated(from_input: Tensor, from_state: Tensor, state: Tensor) -> Tensor:
    """The state after one more input, as `torch.nn.GRU` has it: the reset gate acts after the product.

    Args:
        from_input, from_state: [B, 3 W], what reset gate, update gate and candidate get of the input and of the state.
        state: [B, W].
    """
    width = state.shape[-1]
    reset, update = (from_input[:, : 2 * width] + from_state[:, : 2 * width]).sigmoid().chunk(2, -1)
    candidate = torch.addcmul(from_input[:, 2 * width :], reset, from_state[:, 2 * width :]).tanh()
    return torch.lerp(candidate, state, update)
