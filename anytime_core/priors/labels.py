"""The label of a sequence as an input of a prior. W is the width of the prior."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LabelEmbedding(nn.Module):
    """An embedding of each label and, with `dropout` > 0, of the null label, which stands for any label.

    In training mode the null label replaces a share `dropout` of the labels, so that the prior also learns the codes of
    all labels together. Classifier-free guidance needs this (Ho and Salimans 2022, algorithm 1).

    Args:
        classes: number of labels; with 0, all sequences have the same embedding.
        width: W.
        dropout: share of the labels that are replaced in training.
    """

    def __init__(self, classes: int, width: int, dropout: float) -> None:
        super().__init__()
        self.classes, self.dropout = classes, dropout
        self.null_label = classes if classes and dropout else None
        self.weight = nn.Parameter(torch.randn(max(classes, 1) + (self.null_label is not None), width))

    def forward(self, labels: Tensor | None, batch: int) -> Tensor:
        """[B] labels -> [B, W]; None for an unconditional prior."""
        if self.classes == 0:
            return self.weight.expand(batch, -1)
        if labels is None:
            raise ValueError("a class-conditional prior needs labels")
        if self.training and self.null_label is not None:
            hidden = torch.rand(batch, device=labels.device) < self.dropout
            labels = labels.masked_fill(hidden, self.null_label)
        return F.embedding(labels, self.weight)
