"""From the features of a value to its distribution.

F is the number of features, K the number of values, C the number of values in a cell of the grid.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch.nn.functional as nnf
from torch import Tensor, nn


class ValueHead(nn.Module, ABC):
    """Makes distributions of features. It always ends in logits, so that values are drawn as those of all priors."""

    @abstractmethod
    def logits(self, features: Tensor, earlier: Tensor) -> Tensor:
        """Logits [..., K].

        Args:
            features: [..., F].
            earlier: [..., C], the numbers in the same cell before this value, zeros for this one and later ones.
        """

    @abstractmethod
    def log_prob(self, features: Tensor, earlier: Tensor, codes: Tensor) -> Tensor:
        """The log probability of `codes` [...] in nats; see `logits`."""


class SoftmaxHead(ValueHead):
    """A probability of its own for each value.

    Args:
        features: F.
        values: K.
    """

    def __init__(self, features: int, values: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, values)
        nn.init.normal_(self.linear.weight, std=0.02)
        nn.init.zeros_(self.linear.bias)

    def logits(self, features: Tensor, earlier: Tensor) -> Tensor:
        """See `ValueHead`."""
        return self.linear(features)

    def log_prob(self, features: Tensor, earlier: Tensor, codes: Tensor) -> Tensor:
        """See `ValueHead`."""
        logits = self.linear(features).float()
        return -nnf.cross_entropy(logits.flatten(0, -2), codes.flatten(), reduction="none").view_as(codes)
