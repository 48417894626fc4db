"""Values as the numbers that a network sees. E is how many numbers stand for a value, n a prefix length."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anytime_core.priors.sequence.model import standardised
from anytime_core.quantizers.base import CodeSpec


class LevelValues(nn.Module):
    """Values on a line stand for themselves: E = 1.

    Attributes:
        size: E.
        levels: [K].
    """

    levels: Tensor
    size = 1

    def __init__(self, levels: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("levels", torch.tensor(levels), persistent=False)

    def forward(self, codes: Tensor, first: int = 0) -> Tensor:
        """Codes [B, n] at the positions from `first` on -> [B, n, 1]."""
        return self.levels[codes].unsqueeze(-1)


class EmbeddedValues(nn.Module):
    """Values that are names are embedded; with `code_vectors`, those that look alike are alike.

    Args:
        values: K.
        size: E.
        code_vectors: the quantizer's table [K, D], or one for each position [N, K, D]; None: none.
    """

    vectors: Tensor | None

    def __init__(self, values: int, size: int, code_vectors: Tensor | None) -> None:
        super().__init__()
        self.size = size
        self.embedding = nn.Embedding(values, size)
        nn.init.normal_(self.embedding.weight, std=0.5)
        self.register_buffer("vectors", None if code_vectors is None else standardised(code_vectors))
        if code_vectors is not None:
            self.from_vector = nn.Linear(code_vectors.shape[-1], size)

    def forward(self, codes: Tensor, first: int = 0) -> Tensor:
        """Codes [B, n] at the positions from `first` on -> [B, n, E]."""
        x = self.embedding(codes)
        if self.vectors is None:
            return x
        if self.vectors.ndim == 2:
            return x + self.from_vector(self.vectors[codes])
        positions = torch.arange(first, first + codes.shape[1], device=codes.device)
        return x + self.from_vector(self.vectors[positions, codes])


def make_values(spec: CodeSpec, embedding: int, code_vectors: Tensor | None) -> LevelValues | EmbeddedValues:
    """What stands for the codes that `spec` describes: their levels if they lie on a line."""
    assert spec.size is not None  # the section has checked this
    if spec.levels is not None:
        return LevelValues(spec.levels)
    return EmbeddedValues(spec.size, embedding, code_vectors)
