"""What all priors do. Letters: B batch, N code length, K codebook size."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from anytime_core.priors.labels import LabelEmbedding


class Prior(nn.Module, ABC):
    """Models p(codes | label).

    Attributes:
        code_length: N, how many leading codes it models.
        codebook_size: K.
        classes: number of class labels, 0 for an unconditional model.
        start: what it is told before the first code.
    """

    code_length: int
    codebook_size: int
    classes: int
    start: LabelEmbedding

    @abstractmethod
    def forward(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """Training loss of each sequence in nats per code, [B], of `codes` [B, N] and `labels` [B]."""

    @abstractmethod
    def log_prob(self, codes: Tensor, labels: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """Log probability of each code in nats, [B, N]; of an order-agnostic prior an estimate of a lower bound.

        Args:
            codes: [B, N].
            labels: [B].
            generator: on the CPU, of the estimate.
        """
