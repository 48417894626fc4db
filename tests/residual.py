"""A residual quantizer of several stages: each code of a position adds to what its earlier ones say.

Zeghidour et al., "SoundStream: An End-to-End Neural Audio Codec", 2021, section III-C. Letters: P positions, S stages.
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

    kind: Literal["residual"] = Field("residual", description="each code adds to those before it")
    size: int = Field(16, ge=2, description="codebook size K")
    stages: int = Field(2, ge=1, description="codes of a position")

    @property
    def codebook_size(self) -> int:
        return self.size


class ResidualQuantizer(Quantizer):
    """Code s * P + p is the vector nearest to what the codes before it leave of position p."""

    def __init__(self, positions: int, code_dim: int, *, size: int, stages: int) -> None:
        super().__init__()
        self.size, self.shared, self.stages, self.positions = size, False, stages, positions
        self.codebooks = nn.Parameter(0.5 * torch.randn(stages, size, code_dim))

    def forward(self, z: Tensor, kept: Tensor) -> Quantized:
        codes = self.encode(z)
        vectors = self.lookup(codes)  # [B, S * P, D]
        left = z.float().repeat(1, self.stages, 1) - self._before(vectors).detach()
        error = (left - vectors.detach()).square().mean(-1) * 0.25 + (left.detach() - vectors).square().mean(-1)
        # The first stage lets gradients through, so that any number of stages adds up to the identity.
        through = torch.cat([z, torch.zeros_like(z).repeat(1, self.stages - 1, 1)], 1)
        straight = through + (vectors - through).detach()
        return Quantized(straight, codes, (error * kept).sum(-1) / kept.shape[-1])

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            left, codes = z.float(), []
            for codebook in self.codebooks:
                codes.append(torch.cdist(left, codebook.expand(len(z), -1, -1)).argmin(-1))
                left = left - codebook[codes[-1]]
            return torch.cat(codes, 1)

    def lookup(self, codes: Tensor) -> Tensor:
        stages = torch.arange(codes.shape[1], device=codes.device) // self.positions
        return self.codebooks[stages, codes]

    def code_vectors(self) -> Tensor:
        return self.codebooks.detach().repeat_interleave(self.positions, 0)

    def assembled(self, vectors: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        shape = (len(vectors), self.stages, self.positions)
        summed = (vectors * kept.unsqueeze(-1)).view(*shape, -1).sum(1)
        return summed, kept.view(shape)[:, 0]

    def _before(self, vectors: Tensor) -> Tensor:
        """What the earlier codes of the same position add up to."""
        staged = vectors.view(len(vectors), self.stages, self.positions, -1)
        return (staged.cumsum(1) - staged).flatten(1, 2)
