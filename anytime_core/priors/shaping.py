"""How a prior's distribution is changed before a code is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Shaping:
    """Changes of the distribution of each code.

    Attributes:
        temperature: divides the logits; 0 always takes the most likely code.
        top_k: keep only the k most likely codes.
        top_p: keep the smallest set of most likely codes whose probability reaches p (Holtzman et al. 2020).
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def logits(self, logits: Tensor) -> Tensor:
        """Logits [..., K] -> changed logits [..., K], for temperatures over 0; codes that are left out have -inf."""
        logits = logits / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            smallest = logits.topk(self.top_k).values[..., -1:]
            logits = logits.masked_fill(logits < smallest, -math.inf)
        if self.top_p is not None and self.top_p < 1:
            ordered, order = logits.sort(descending=True)
            probabilities = ordered.softmax(-1)
            # A code stays if the codes before it have not reached p yet, so the most likely code always stays.
            beyond = probabilities.cumsum(-1) - probabilities >= self.top_p
            logits = logits.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), -math.inf)
        return logits
