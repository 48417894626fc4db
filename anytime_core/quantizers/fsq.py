"""Finite scalar quantisation (Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple", 2023).

d is the number of scalars, and K the product of their numbers of levels. n is a prefix length, G the number of
projections (1 or N).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from anytime_core.quantizers.base import Quantized, Quantizer


class FiniteScalarQuantizer(Quantizer):
    """Projects each vector to d scalars and rounds each scalar to one of its levels; there is no codebook to collapse.

    A code is the mixed-radix number of its d digits; the first digit is the least significant.

    Args:
        code_length: N.
        code_dim: D.
        levels: number of values of each scalar, every one at least 2; K is their product.
        shared: one projection for all positions, or one per position.
    """

    levels: Tensor
    radix: Tensor

    def __init__(self, code_length: int, code_dim: int, *, levels: Sequence[int], shared: bool = True) -> None:
        super().__init__()
        self.size = math.prod(levels)
        self.radices = tuple(reversed(levels))
        self.shared = shared
        groups, d = (1 if shared else code_length), len(levels)
        self.project_in = nn.Parameter(torch.randn(groups, code_dim, d) / math.sqrt(code_dim))
        self.project_out = nn.Parameter(torch.randn(groups, d, code_dim) / math.sqrt(d))
        self.register_buffer("levels", torch.tensor(levels), persistent=False)
        self.register_buffer("radix", torch.tensor([math.prod(levels[:i]) for i in range(d)]), persistent=False)

    def forward(self, z: Tensor, kept: Tensor) -> Quantized:
        """Quantise `z` [B, N, D]. There is no loss and no statistic, so `kept` [B, N] does not matter."""
        with torch.autocast(z.device.type, enabled=False):
            bounded = self._bound(z.float())
            digits = self._round(bounded)
            through = bounded + (digits - bounded).detach()
            return Quantized(
                vectors=self._project(self._centre(through), self.project_out),
                codes=(digits.long() * self.radix).sum(-1),
                loss=z.new_zeros(z.shape[0]),
            )

    def encode(self, z: Tensor) -> Tensor:
        """Codes [B, N] int64 of `z` [B, N, D]."""
        with torch.autocast(z.device.type, enabled=False):
            return (self._round(self._bound(z.float())).long() * self.radix).sum(-1)

    def lookup(self, codes: Tensor) -> Tensor:
        """Vectors [B, n, D] of `codes` [B, n]."""
        digits = codes.unsqueeze(-1) // self.radix % self.levels
        return self._project(self._centre(digits.float()), self.project_out)

    def code_vectors(self) -> Tensor:
        """The table of all code vectors: [K, D] if shared, else [N, K, D]."""
        assert self.size is not None
        positions = self.project_out.shape[0]
        codes = torch.arange(self.size, device=self.levels.device)[:, None].expand(-1, positions)
        table = self.lookup(codes).detach().transpose(0, 1)
        return table[0] if self.shared else table

    @staticmethod
    def _project(values: Tensor, weights: Tensor) -> Tensor:
        """[B, n, i] through projections [G, i, o] -> [B, n, o]; position p uses projection p, or the only one."""
        if weights.shape[0] == 1:
            return values @ weights[0]
        return torch.einsum("bni,nio->bno", values, weights[: values.shape[1]])

    def _bound(self, z: Tensor) -> Tensor:
        """[B, N, D] -> [B, N, d], each scalar in (-0.5, levels - 0.5)."""
        return torch.sigmoid(2 * self._project(z, self.project_in)) * self.levels - 0.5

    def _round(self, bounded: Tensor) -> Tensor:
        # A sigmoid saturated in float32 would round to -1 or to the number of levels.
        return torch.minimum(bounded.round().clamp(min=0), self.levels - 1.0)

    def _centre(self, digits: Tensor) -> Tensor:
        """Digits 0..levels-1 -> [-1, 1]."""
        return 2 * digits / (self.levels - 1) - 1
