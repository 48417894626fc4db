"""NADE one position at a time: each input adds to the sums of the hidden units, which are all that is kept.

E is the numbers of an input, H the hidden units, F the features of a position.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anytime_core.priors.sequence.incremental import IncrementalNetwork, State
from anytime_core.priors.stepping import Position

if TYPE_CHECKING:
    from anytime_core.priors.nade.model import NADEPrior


class AccumulatingNetwork(IncrementalNetwork):
    """See `IncrementalNetwork`. The state is the sums [B, H], in float32, as many small numbers are added to them.

    Args:
        prior: the prior.
        dtype: of the weights.
    """

    def __init__(self, prior: NADEPrior, dtype: torch.dtype) -> None:
        def copied(weights: Tensor) -> Tensor:
            return weights.detach().to(dtype, copy=True)

        self.activation = prior.config.activation
        self.to_hidden, self.to_features = copied(prior.to_hidden), copied(prior.to_features)
        self.hidden_bias, self.feature_bias = copied(prior.hidden_bias.float()), copied(prior.feature_bias)

    def state(self, batch: int, length: int) -> State:
        """See `IncrementalNetwork`."""
        return (self.to_hidden.new_zeros(batch, self.to_hidden.shape[2], dtype=torch.float32),)

    def features(self, x: Tensor, state: State, position: Position) -> Tensor:
        """See `IncrementalNetwork`."""
        (sums,) = state
        sums += x @ _at(self.to_hidden, position)
        hidden = activate(sums + self.hidden_bias, self.activation).to(x.dtype)
        return torch.addmm(_at(self.feature_bias, position), hidden, _at(self.to_features, position))


def activate(sums: Tensor, activation: str) -> Tensor:
    """The hidden units of sums of their inputs; `sums` is changed in place."""
    return sums.relu_() if activation == "relu" else sums.sigmoid_()


def _at(weights: Tensor, position: Position) -> Tensor:
    """The weights [...] of a position, of [N, ...]."""
    return weights[position] if isinstance(position, int) else weights.index_select(0, position)[0]
