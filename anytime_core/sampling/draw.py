"""From logits and noise to codes. Letters: B batch, K codebook size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from anytime_core.arguments import real_number, whole_number


@dataclass(frozen=True)
class Filter:
    """How the prior's distribution is changed before drawing.

    Attributes:
        temperature: divides the logits; 0 always takes the most likely code.
        top_k: keep only the k most likely codes.
        top_p: keep the smallest set of most likely codes whose probability reaches p (Holtzman et al. 2020).
        guidance: how far the prior is led by the label, see `anytime_core.sampling.guidance`; 1 leaves the prior as it
            is, 0 makes it forget the label, and above 1 samples get more typical of their label and less varied.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    guidance: float = 1.0

    def __post_init__(self) -> None:
        for name in ("temperature", "guidance"):
            self._settle(name, real_number(name, getattr(self, name), "0 or a positive number", _is_weight))
        if self.top_k is not None:
            self._settle("top_k", whole_number("top-k", self.top_k, "of at least 1", 1))
        if self.top_p is not None:
            self._settle("top_p", real_number("top-p", self.top_p, "in (0, 1]", lambda share: 0 < share <= 1))

    def _settle(self, name: str, value: float) -> None:
        """Numbers of other types, such as NumPy's, are plain ones from here on."""
        object.__setattr__(self, name, value)

    @property
    def guided(self) -> bool:
        """Whether guidance changes anything."""
        return self.guidance != 1

    def rows(self, batch: int) -> int:
        """How many sequences go through the network for a batch: with guidance each one twice."""
        return 2 * batch if self.guided else batch


def _is_weight(value: float) -> bool:
    return 0 <= value < math.inf


def draw_codes(logits: Tensor, noise: Tensor, filtering: Filter) -> Tensor:
    """Draw one code per row: logits [B, K] and Gumbel noise [B, K] -> [B] int64."""
    logits = logits.float()
    if filtering.temperature == 0:
        return logits.argmax(-1)
    logits = logits / filtering.temperature
    if filtering.top_k is not None and filtering.top_k < logits.shape[-1]:
        smallest = logits.topk(filtering.top_k).values[:, -1:]
        logits = logits.masked_fill(logits < smallest, -math.inf)
    if filtering.top_p is not None and filtering.top_p < 1:
        ordered, order = logits.sort(descending=True)
        probabilities = ordered.softmax(-1)
        # A code stays if those before it have not reached p yet, so the most likely one always stays.
        beyond = probabilities.cumsum(-1) - probabilities >= filtering.top_p
        logits = logits.masked_fill(torch.zeros_like(beyond).scatter(-1, order, beyond), -math.inf)
    return (logits + noise).argmax(-1)
