"""A softmax over the coarse digit of a code, and one over its fine digit given the coarse one: dual softmax.

C is the number of values of the coarse digit, F that of the fine one, U the number of units that predict the fine one.
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from anytime_core.priors.gru.config import fine_values
from anytime_core.quantizers.base import CodeSpec


class DualSoftmax(nn.Module):
    """p(code) = p(coarse digit) p(fine digit | coarse digit), given C numbers for the coarse digit and U for the fine.

    The coarse digit adds to the U numbers before they are rectified. So the recurrent state does not depend on the code
    that is being predicted, and the logits of all codes take one product more.

    Args:
        spec: the codes.
        units: U.

    Attributes:
        inputs: C + U.
    """

    impossible: Tensor

    def __init__(self, spec: CodeSpec, units: int) -> None:
        super().__init__()
        assert spec.size is not None  # as the section has seen to
        self.size, self.fine = spec.size, fine_values(spec)
        self.coarse = -(-self.size // self.fine)
        self.inputs = self.coarse + units
        self.given = nn.Embedding(self.coarse, units)
        self.to_fine = nn.Linear(units, self.fine)
        codes = torch.arange(self.coarse * self.fine).view(self.coarse, self.fine)
        self.register_buffer("impossible", codes >= self.size, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., C + U] -> the logits of all codes [..., K], which are log probabilities."""
        coarse, hidden = x[..., : self.coarse], x[..., self.coarse :]
        fine = self.to_fine(functional.relu(hidden.unsqueeze(-2) + self.given.weight))  # [..., C, F]
        fine = fine.masked_fill(self.impossible, -math.inf).log_softmax(-1, dtype=torch.float32)
        return (coarse.log_softmax(-1, dtype=torch.float32).unsqueeze(-1) + fine).flatten(-2)[..., : self.size]

    def log_prob(self, x: Tensor, codes: Tensor) -> Tensor:
        """The log probability in nats of `codes` [B, n], given [B, n, C + U] -> float32 [B, n]."""
        digit = codes // self.fine
        hidden = functional.relu(x[..., self.coarse :] + self.given(digit))
        fine = self.to_fine(hidden).masked_fill(functional.embedding(digit, self.impossible), -math.inf)
        return _log_prob(x[..., : self.coarse], digit) + _log_prob(fine, codes % self.fine)

    def copied(self, dtype: torch.dtype) -> DualSoftmax:
        """A copy with weights of this dtype, that no gradient reaches."""
        return copy.deepcopy(self).to(dtype).requires_grad_(False)


def _log_prob(logits: Tensor, digits: Tensor) -> Tensor:
    return -functional.cross_entropy(logits.float().movedim(-1, 1), digits, reduction="none")
