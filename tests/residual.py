"""A residual quantizer: codes of a second stage add to the vectors of the first, and so on (Zeghidour et al. 2021).

Letters: B batch, P positions, Q stages, N = Q * P code length, n a prefix length, D code dimension, K codebook size.
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

    kind: Literal["residual"] = Field("residual", description="each stage adds to the ones before it")
    size: int = Field(16, ge=2, description="codebook size K")
    stages: int = Field(2, ge=1, description="codes of a position")

    @property
    def codebook_size(self) -> int:
        return self.size


class ResidualQuantizer(Quantizer):
    """The codes of all positions at the first stage, then those that add to them: code s P + p is of position p."""

    def __init__(self, positions: int, dim: int, *, size: int, stages: int) -> None:
        super().__init__()
        self.size, self.shared, self.stages, self.positions = size, False, stages, positions
        scales = 0.5 ** torch.arange(stages).repeat_interleave(positions)
        self.steps = nn.Parameter(scales[:, None, None] * torch.randn(stages * positions, size, dim))

    def forward(self, z: Tensor, kept: Tensor) -> Quantized:
        codes = self.encode(z)
        vectors, wanted = self.lookup(codes), z.repeat(1, self.stages, 1)
        error = (wanted - vectors.detach()).square().mean(-1) * 0.25 + (wanted.detach() - vectors).square().mean(-1)
        return Quantized(wanted + (vectors - wanted).detach(), codes, (error * kept).sum(-1) / kept.shape[-1])

    @torch.no_grad()
    def encode(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            left, codes = z.float(), []
            for steps in self.steps.split(self.positions):
                stage = torch.cdist(left.transpose(0, 1), steps).argmin(-1)  # [P, B]
                left = left - steps.gather(1, stage.unsqueeze(-1).expand(-1, -1, steps.shape[-1])).transpose(0, 1)
                codes.append(stage.T)
            return torch.cat(codes, 1)

    def lookup(self, codes: Tensor) -> Tensor:
        steps = self.steps[torch.arange(codes.shape[1], device=codes.device), codes]  # [B, n, D]
        vectors: list[Tensor] = []
        for stage in steps.split(self.positions, 1):
            vectors.append(stage + vectors[-1][:, : stage.shape[1]] if vectors else stage)
        return torch.cat(vectors, 1)

    def code_vectors(self) -> Tensor:
        return self.steps.detach()

    def assembled(self, vectors: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Of each position the vector of its last kept code."""
        stages = kept.unflatten(1, (self.stages, self.positions)).sum(1)  # [B, P]
        last = (stages.clamp(min=1) - 1) * self.positions + torch.arange(self.positions, device=kept.device)
        return vectors.gather(1, last.unsqueeze(-1).expand(-1, -1, vectors.shape[-1])), stages > 0
