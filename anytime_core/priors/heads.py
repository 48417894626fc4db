"""Heads: what the numbers that a prior gives for one code say of it.

Letters: B batch, P parameters of a code, K codebook size, G numbers of noise a code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from anytime_core.priors.shaping import Shaping


@dataclass(frozen=True)
class NoiseNeed:
    """What a head draws a code with.

    Attributes:
        kind: `gumbel`, `uniform` in (0, 1), or `normal` numbers.
        numbers: G.
    """

    kind: Literal["gumbel", "uniform", "normal"]
    numbers: int


class Head(ABC):
    """A distribution of one code, of P parameters.

    Attributes:
        size: P.
        noise: what drawing needs.
    """

    size: int
    noise: NoiseNeed

    @abstractmethod
    def log_prob(self, parameters: Tensor, codes: Tensor) -> Tensor:
        """Log probability in nats of `codes` [...], given parameters [..., P] -> [...]."""

    @abstractmethod
    def draw(self, parameters: Tensor, noise: Tensor, shaping: Shaping) -> Tensor:
        """Draw a code a row: parameters [B, P] and noise [B, G] -> [B]; the same from the same noise."""

    @abstractmethod
    def logits(self, parameters: Tensor) -> Tensor:
        """Logits [..., K] of discrete codes. Raises ValueError if codes are continuous."""

    @abstractmethod
    def entropy(self, parameters: Tensor) -> Tensor:
        """Entropy in nats, [..., P] -> [...]."""

    @abstractmethod
    def guided(self, parameters: Tensor, guidance: float) -> Tensor:
        """Classifier-free guidance (Ho and Salimans, "Classifier-Free Diffusion Guidance", 2022).

        Args:
            parameters: [2 B, ..., P], of sequences with their labels, then of the same ones with the null label.
            guidance: 1 leaves those with labels as they are, 0 takes those without.

        Returns:
            [B, ..., P].
        """


class Categorical(Head):
    """K values, whose parameters are their logits.

    It is drawn as the largest of logits and Gumbel noise: two engines, whose logits differ by rounding, then draw
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
        logits = parameters.float()
        if shaping.temperature == 0:
            return logits.argmax(-1)
        return (shaping.logits(logits) + noise).argmax(-1)

    def logits(self, parameters: Tensor) -> Tensor:
        """The parameters."""
        return parameters

    def entropy(self, parameters: Tensor) -> Tensor:
        """See `Head`; a logit of -inf stands for a value that does not occur."""
        return torch.special.entr(parameters.float().softmax(-1)).sum(-1)

    def guided(self, parameters: Tensor, guidance: float) -> Tensor:
        """Logits without a label, plus `guidance` times the difference that the label makes."""
        told, untold = parameters.float().chunk(2)
        # What is impossible is so with and without a label.
        return torch.where(told.isneginf(), told, untold + guidance * (told - untold))
