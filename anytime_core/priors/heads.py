"""Heads: the distribution of one code, given the numbers that a prior returns for it.

P is the number of parameters of a code, G the number of noise numbers that drawing it takes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from anytime_core.priors.shaping import Shaping

_UNCHANGED = Shaping()


@dataclass(frozen=True)
class NoiseNeed:
    """The noise that a head needs to draw a code.

    Attributes:
        kind: `gumbel`, `uniform` in (0, 1), or `normal` numbers.
        numbers: G.
    """

    kind: Literal["gumbel", "uniform", "normal"]
    numbers: int


class Head(ABC):
    """A distribution of one code, with P parameters.

    Attributes:
        size: P.
        noise: the noise that drawing needs.
    """

    size: int
    noise: NoiseNeed

    @abstractmethod
    def log_prob(self, parameters: Tensor, codes: Tensor) -> Tensor:
        """The log probability in nats of `codes` [...], given parameters [..., P] -> [...]."""

    @abstractmethod
    def draw(self, parameters: Tensor, noise: Tensor, shaping: Shaping) -> Tensor:
        """Draw one code per row: parameters [B, P] and noise [B, G] -> [B]; the same noise gives the same codes."""

    @abstractmethod
    def logits(self, parameters: Tensor) -> Tensor:
        """The logits [..., K] of discrete codes. Raises ValueError if codes are continuous."""

    @abstractmethod
    def entropy(self, parameters: Tensor) -> Tensor:
        """The entropy in nats, [..., P] -> [...]."""

    @abstractmethod
    def guided(self, parameters: Tensor, guidance: float) -> Tensor:
        """Classifier-free guidance (Ho and Salimans, "Classifier-Free Diffusion Guidance", 2022).

        Args:
            parameters: [2 B, ..., P], of sequences with their labels, then of the same sequences with the null label.
            guidance: 1 gives the parameters with labels, 0 those with the null label.

        Returns:
            [B, ..., P].
        """


class Categorical(Head):
    """K values; the parameters are their logits.

    A code is drawn as the largest sum of logit and Gumbel noise. Two engines whose logits differ by rounding then draw
    different codes only if the two largest sums are that close (docs/performance.md counts how often).

    Args:
        values: K.
    """

    def __init__(self, values: int) -> None:
        self.size = values
        self.noise = NoiseNeed("gumbel", values)

    def log_prob(self, parameters: Tensor, codes: Tensor) -> Tensor:
        """See `Head`."""
        logits = parameters.float()
        return -F.cross_entropy(logits.movedim(-1, 1) if logits.ndim > 2 else logits, codes, reduction="none")

    def draw(self, parameters: Tensor, noise: Tensor, shaping: Shaping) -> Tensor:
        """See `Head`; temperature 0 takes the most likely code."""
        return self.draw_by(parameters, lambda logits: (logits + noise).argmax(-1), shaping)

    def draw_by(self, parameters: Tensor, largest_sum: Callable[[Tensor], Tensor], shaping: Shaping) -> Tensor:
        """As `draw`, with noise that need not be in memory.

        Args:
            parameters: [B, P].
            largest_sum: logits [B, K] -> where they are the largest, plus Gumbel noise, [B].
            shaping: changes of the distribution.
        """
        if shaping.temperature == 0:
            return parameters.argmax(-1)
        return largest_sum(parameters if shaping == _UNCHANGED else shaping.logits(parameters.float()))

    def logits(self, parameters: Tensor) -> Tensor:
        """The parameters."""
        return parameters

    def entropy(self, parameters: Tensor) -> Tensor:
        """See `Head`; a logit of -inf stands for a value that does not occur."""
        return torch.special.entr(parameters.float().softmax(-1)).sum(-1)

    def guided(self, parameters: Tensor, guidance: float) -> Tensor:
        """Logits without a label, plus `guidance` times the difference that the label makes."""
        told, untold = parameters.float().chunk(2)
        # Impossible values are impossible with and without a label.
        return torch.where(told.isneginf(), told, untold + guidance * (told - untold))
