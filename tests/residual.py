"""A residual quantizer: each code adds to the vector before it, so that a vector follows from all codes up to its own.

Letters: B batch, N code length, n a prefix length, D code dimension, K codebook size.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from anytime_core.quantizers.base import Quantized, Quantizer
from anytime_core.quantizers.config import QuantizerSection


class ResidualConfig(QuantizerSection):
    """Residual quantisation."""

    kind: Literal["residual"] = Field("residual", description="each code adds to the vector before it")
    size: int = Field(16, ge=2, description="codebook size K")

    @property
    def codebook_size(self) -> int:
        return self.size


class ResidualQuantizer(Quantizer):
    """Vector i is vector i - 1 plus a step, the nearest of K that position i has."""

    def __init__(self, code_length: int, code_dim: int, *, size: int) -> None:
        super().__init__()
        self.size, self.shared = size, False
        self.steps = nn.Parameter(0.5 * torch.randn(code_length, size, code_dim))

    def forward(self, z: Tensor, kept: Tensor) -> Quantized:
        codes = self.encode(z)
        vectors = self.lookup(codes)
        error = (z - vectors.detach()).square().mean(-1) * 0.25 + (z.detach() - vectors).square().mean(-1)
        return Quantized(z + (vectors - z).detach(), codes, (error * kept).sum(-1) / kept.shape[-1])

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            vector, codes = z.new_zeros(len(z), z.shape[-1], dtype=torch.float32), []
            for position, steps in enumerate(self.steps):
                code = torch.cdist(z[:, position].float() - vector, steps).argmin(-1)
                vector = vector + steps[code]
                codes.append(code)
            return torch.stack(codes, 1)

    def lookup(self, codes: Tensor) -> Tensor:
        return self.steps[torch.arange(codes.shape[1], device=codes.device), codes].cumsum(1)

    def code_vectors(self) -> Tensor:
        return self.steps.detach()
