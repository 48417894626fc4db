"""The recurrent prior one position at a time: its state is all that is kept of the codes before.

W is the width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from anytime_core.priors.sequence.incremental import IncrementalNetwork, State
from anytime_core.priors.sequence.products import Product, product
from anytime_core.priors.stepping import Position

if TYPE_CHECKING:
    from anytime_core.priors.gru.model import GRUPrior


class IncrementalGRU(IncrementalNetwork):
    """See `IncrementalNetwork`. The state is that of each layer, [B, W], in float32: it adds up small changes.

    Args:
        prior: the prior whose network it is.
        dtype: of its weights.
    """

    @torch.no_grad()
    def __init__(self, prior: GRUPrior, dtype: torch.dtype) -> None:
        def affine(weight: Tensor, bias: Tensor) -> Product:
            return product(weight.T.to(dtype, copy=True).contiguous(), bias.to(dtype, copy=True))

        layers = prior.recurrent()
        self.width, self.dtype, self.blank = prior.config.width, dtype, layers[0].weight_hh_l0.new_zeros(0)
        self.from_input = [affine(layer.weight_ih_l0, layer.bias_ih_l0) for layer in layers[1:]]
        self.from_state = [affine(layer.weight_hh_l0, layer.bias_hh_l0) for layer in layers]
        self.to_features = affine(prior.to_features.weight, prior.to_features.bias)
        self.dual = None if prior.dual is None else prior.dual.copied(dtype)

    def state(self, batch: int, length: int) -> State:
        """See `IncrementalNetwork`."""
        return tuple(self.blank.new_zeros(batch, self.width) for _ in self.from_state)

    def features(self, x: Tensor, state: State, position: Position) -> Tensor:
        """See `IncrementalNetwork`; `x` has been through the input product of the first layer, [B, 3 W]."""
        for number, (kept, from_state) in enumerate(zip(state, self.from_state, strict=True)):
            from_input = self.from_input[number - 1].apply(x) if number else x
            x = kept.copy_(gated(from_input, from_state.apply(kept.to(self.dtype)), kept)).to(self.dtype)
        return F.relu(self.to_features.apply(x))

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
    return torch.lerp(candidate.to(state.dtype), state, update.to(state.dtype))
