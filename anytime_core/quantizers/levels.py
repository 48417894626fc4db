"""Levels: values of samples themselves, such as pixels, rounded to numbers that are evenly spaced over [-1, 1].

P is the number of positions, b the number of bits of a level (K = 2^b), n a prefix length.
"""

from __future__ import annotations

import torch
from torch import Tensor

from anytime_core.quantizers.base import Quantized, Quantizer


class LevelQuantizer(Quantizer):
    """Rounds to one of K levels. A vector of several numbers becomes the level nearest to all, that of their mean.

    Nothing of it is learned, and no distances are computed: the code of a number follows from it by rounding.

    Args:
        code_length: N.
        code_dim: D.
        size: K, at least 2.

    Attributes:
        levels: [K], ascending.
    """

    levels: Tensor

    def __init__(self, code_length: int, code_dim: int, *, size: int) -> None:
        super().__init__()
        self.size = size
        self.shared = True
        self.code_dim = code_dim
        self.register_buffer("levels", torch.linspace(-1, 1, size), persistent=False)

    def forward(self, z: Tensor, kept: Tensor) -> Quantized:
        """Quantise `z` [B, N, D]. There is no loss and no statistic, so `kept` [B, N] does not matter."""
        with torch.autocast(z.device.type, enabled=False):
            z = z.float()
            codes = self.encode(z)
            return Quantized(_through(z, self.lookup(codes)), codes, z.new_zeros(len(z)))

    def encode(self, z: Tensor) -> Tensor:
        """Codes [B, N] int64 of `z` [B, N, D]; numbers beyond [-1, 1] have the first or the last level."""
        with torch.autocast(z.device.type, enabled=False):
            return _rounded(z, len(self.levels))

    def lookup(self, codes: Tensor) -> Tensor:
        """Vectors [B, n, D] of `codes` [B, n]."""
        return self.levels[codes].unsqueeze(-1).expand(-1, -1, self.code_dim)

    def code_vectors(self) -> Tensor:
        """The levels, [K, D]."""
        return self.levels.unsqueeze(-1).expand(-1, self.code_dim)


class BitPlanes(Quantizer):
    """Levels bit by bit: the most significant bit of all positions, then the next one of all, and so on; N = b P.

    A code is 0 or 1. What the first bits of a position say is the middle of the levels that begin with them, so that
    each further bit adds half of what the one before it added.

    Args:
        positions: P.
        code_dim: D.
        size: how many levels there are, 2^b.
    """

    steps: Tensor
    size = 2
    shared = False

    def __init__(self, positions: int, code_dim: int, *, size: int) -> None:
        super().__init__()
        self.stages = size.bit_length() - 1
        self.positions, self.code_dim, self.number = positions, code_dim, size
        # A bit of weight w moves the middle by w / 2 levels, up or down; levels are 2 / (K - 1) apart.
        weights = 2.0 ** torch.arange(self.stages - 1, -1, -1)
        self.register_buffer("steps", weights / (size - 1), persistent=False)

    def forward(self, z: Tensor, kept: Tensor) -> Quantized:
        """Quantise `z` [B, P, D]. There is no loss and no statistic, so `kept` [B, N] does not matter."""
        with torch.autocast(z.device.type, enabled=False):
            z = z.float()
            codes = self.encode(z)
            vectors = self.lookup(codes)
            # The first bit carries the gradient of its position, once for all its bits.
            first = _through(z, vectors[:, : self.positions])
            return Quantized(torch.cat([first, vectors[:, self.positions :]], 1), codes, z.new_zeros(len(z)))

    def encode(self, z: Tensor) -> Tensor:
        """Codes [B, N] int64 of `z` [B, P, D]."""
        with torch.autocast(z.device.type, enabled=False):
            levels = _rounded(z, self.number).unsqueeze(1)  # [B, 1, P]
        shifts = torch.arange(self.stages - 1, -1, -1, device=z.device).unsqueeze(-1)
        return (levels >> shifts & 1).flatten(1)

    def lookup(self, codes: Tensor) -> Tensor:
        """What each of `codes` [B, n] adds, [B, n, D]."""
        added = self.steps.repeat_interleave(self.positions)[: codes.shape[1]] * (2 * codes - 1)
        return added.unsqueeze(-1).expand(-1, -1, self.code_dim)

    def code_vectors(self) -> Tensor:
        """What each code adds at each position, [N, 2, D]."""
        added = self.steps.repeat_interleave(self.positions)[:, None] * self.steps.new_tensor([-1, 1])
        return added.unsqueeze(-1).expand(-1, -1, self.code_dim)

    def assembled(self, vectors: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """The middle of the levels that begin with the kept bits, [B, P, D], and where there are any, [B, P]."""
        added = torch.where(kept.unsqueeze(-1), vectors, vectors.new_zeros(()))
        return added.unflatten(1, (self.stages, -1)).sum(1), kept[:, : self.positions]


def _rounded(z: Tensor, size: int) -> Tensor:
    """The levels [B, P] int64 nearest to `z` [B, P, D]."""
    share = (z.float().mean(-1).clamp(-1, 1) + 1) / 2
    return (share * (size - 1)).round().long()


def _through(z: Tensor, vectors: Tensor) -> Tensor:
    """`vectors`, whose gradient is that of `z`, of the same shape."""
    return vectors if not z.requires_grad else z + (vectors - z).detach()
