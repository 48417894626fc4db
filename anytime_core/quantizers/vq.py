"""Vector quantisation (van den Oord et al., "Neural Discrete Representation Learning", 2017).

G is the number of codebooks (1 if shared, else one per position), R the number of vectors per codebook (B * N if
shared, else B), n a prefix length.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anytime_core.distributed import from_first, joined
from anytime_core.quantizers.base import Quantized, Quantizer

# Scores of one block of vectors against the codebook stay in the processor's cache; a GPU wants larger blocks.
_BLOCK_ELEMENTS = {"cpu": 2**20, "cuda": 2**27}


@torch.no_grad()
def nearest(z: Tensor, codebook: Tensor) -> Tensor:
    """The index of the nearest code in squared Euclidean distance: `z` [G, R, D], `codebook` [G, K, D] -> [G, R]."""
    G, R, _ = z.shape
    # |z - e|^2 = |z|^2 - 2 z.e + |e|^2, whose first term does not change which code is nearest.
    norms = codebook.square().sum(-1).unsqueeze(1)
    transposed = codebook.transpose(1, 2)
    codes = torch.empty(G, R, dtype=torch.int64, device=z.device)
    block = max(1, _BLOCK_ELEMENTS.get(z.device.type, 2**27) // (G * codebook.shape[1]))
    for start in range(0, R, block):
        rows = slice(start, start + block)
        codes[:, rows] = torch.baddbmm(norms, z[:, rows], transposed, alpha=-2).argmin(-1)
    return codes


def accumulate(z: Tensor, codes: Tensor, weights: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The weighted sum and count of the vectors assigned to each code.

    Args:
        z: [G, R, D].
        codes: [G, R] int64.
        weights: [G, R] float; 0 leaves a vector out.
        size: K.

    Returns:
        sums [G, K, D] and counts [G, K].
    """
    G, _, D = z.shape
    flat = (codes + size * torch.arange(G, device=z.device)[:, None]).flatten()
    sums = z.new_zeros(G * size, D).index_add_(0, flat, (z * weights.unsqueeze(-1)).flatten(0, 1))
    counts = z.new_zeros(G * size).index_add_(0, flat, weights.flatten())
    return sums.view(G, size, D), counts.view(G, size)


def draw_vectors(z: Tensor, weights: Tensor, number: int) -> Tensor:
    """`number` vectors per group, drawn with replacement from those of weight > 0: [G, R, D] -> [G, number, D]."""
    # The small constant avoids an error for a group without kept vectors; callers do not use what it draws.
    picks = from_first(torch.multinomial(weights + 1e-12, number, replacement=True))
    return z.gather(1, picks.unsqueeze(-1).expand(-1, -1, z.shape[-1]))


def kmeans(z: Tensor, weights: Tensor, size: int, iterations: int = 10) -> Tensor:
    """Lloyd's algorithm from randomly drawn vectors: `z` [G, R, D] weighted by `weights` [G, R] -> [G, K, D]."""
    centres = draw_vectors(z, weights, size)
    for _ in range(iterations):
        sums, counts = accumulate(z, nearest(z, centres), weights, size)
        # A centre that has lost all its vectors restarts from a random vector.
        centres = torch.where(
            counts.unsqueeze(-1) > 0, sums / counts.clamp(min=1e-6).unsqueeze(-1), draw_vectors(z, weights, size)
        )
    return centres


class VectorQuantizer(Quantizer):
    """Codebooks of K vectors; each input vector becomes its nearest code.

    With `update="ema"` the codebook follows a moving average of the vectors assigned to it (van den Oord et al. 2017,
    appendix A.1). It starts from k-means over the first training batch, and codes used less than `dead_threshold` times
    uniform use restart from vectors of the current batch. With `update="gradient"` it is a parameter trained by the
    codebook loss, as in Xu et al. 2021. Several processes that train together learn one codebook from the vectors of
    all of them.

    Args:
        code_length: N.
        code_dim: D.
        size: K.
        shared: one codebook for all positions, or one per position.
        update: `ema` or `gradient`.
        decay: the decay of the moving average, in [0, 1).
        commitment: the weight of the commitment loss |z - sg(e)|^2, where sg stops the gradient.
        dead_threshold: the share of uniform use, in [0, 1), under which a code is dead; 0 never restarts a code.
    """

    codebook: Tensor
    ema_sums: Tensor
    ema_counts: Tensor
    started: Tensor

    def __init__(
        self,
        code_length: int,
        code_dim: int,
        *,
        size: int,
        shared: bool = True,
        update: Literal["ema", "gradient"] = "ema",
        decay: float = 0.99,
        commitment: float = 0.25,
        dead_threshold: float = 0.1,
    ) -> None:
        super().__init__()
        self.size = size
        self.code_length = code_length
        self.shared, self.update, self.decay = shared, update, decay
        self.commitment, self.dead_threshold = commitment, dead_threshold
        groups = 1 if shared else code_length
        self._all_started = False
        if update == "gradient":
            self.codebook = nn.Parameter(torch.empty(groups, size, code_dim).uniform_(-1 / size, 1 / size))
        else:
            self.register_buffer("codebook", torch.randn(groups, size, code_dim))
            self.register_buffer("ema_sums", torch.zeros(groups, size, code_dim))
            self.register_buffer("ema_counts", torch.zeros(groups, size))
            self.register_buffer("started", torch.zeros(groups, dtype=torch.bool))

    @property
    def starting(self) -> bool:
        """Whether a codebook still waits for its first vectors. The device is waited for while one does."""
        if self.update == "ema" and not self._all_started:
            self._all_started = bool(self.started.all())
        return self.update == "ema" and not self._all_started

    def forward(self, z: Tensor, kept: Tensor) -> Quantized:
        """Quantise `z` [B, N, D]. Losses and codebook statistics see only positions where `kept` [B, N] is true."""
        with torch.autocast(z.device.type, enabled=False):
            z = z.float()
            grouped, weights = self._group(z.detach()), self._group(kept.float())
            learning = self.training and self.update == "ema"
            if learning and self.starting:
                self._start(joined(grouped, 1), joined(weights, 1))
            indices = nearest(grouped, self.codebook)
            codes = self._ungroup(indices)
            vectors = self.lookup(codes)
            if learning:
                self._follow(joined(grouped, 1), joined(indices, 1), joined(weights, 1))
            error = (z - vectors.detach()).square().mean(-1) * self.commitment
            if self.update == "gradient":
                error = error + (z.detach() - vectors).square().mean(-1)
            return Quantized(
                vectors=z + (vectors - z).detach(),
                codes=codes,
                loss=(error * kept).sum(-1) / kept.shape[-1],
            )

    def encode(self, z: Tensor) -> Tensor:
        """Codes [B, N] int64 of `z` [B, N, D]."""
        with torch.autocast(z.device.type, enabled=False):
            return self._ungroup(nearest(self._group(z.float()), self.codebook))

    def lookup(self, codes: Tensor) -> Tensor:
        """Vectors [B, n, D] of `codes` [B, n]."""
        if self.shared:
            return F.embedding(codes, self.codebook[0])
        return self.codebook[torch.arange(codes.shape[1], device=codes.device), codes]

    def code_vectors(self) -> Tensor:
        """The codebook: [K, D] if shared, else [N, K, D]."""
        table = self.codebook.detach()
        return table[0] if self.shared else table

    @torch.no_grad()
    def place(self, vectors: Tensor) -> None:
        """Replace the codebook: [K, D] if shared, else [N, K, D]."""
        self.codebook.copy_(vectors)

    def _load_from_state_dict(self, *arguments: Any) -> None:
        self._all_started = False
        super()._load_from_state_dict(*arguments)

    def _group(self, values: Tensor) -> Tensor:
        """[B, N, ...] -> [G, R, ...]."""
        return values.flatten(0, 1).unsqueeze(0) if self.shared else values.transpose(0, 1)

    def _ungroup(self, indices: Tensor) -> Tensor:
        """[G, R] -> [B, N]."""
        return indices.view(-1, self.code_length) if self.shared else indices.transpose(0, 1)

    @torch.no_grad()
    def _start(self, z: Tensor, weights: Tensor) -> None:
        """Start each codebook that sees its first kept vectors by k-means."""
        starting = ~self.started & (weights.sum(-1) > 0)  # [G]
        uniform = (weights.sum(-1) / self.codebook.shape[1])[:, None].expand_as(self.ema_counts)
        self._replace(starting[:, None].expand_as(uniform), kmeans(z, weights, self.codebook.shape[1]), uniform)
        self.started |= starting

    @torch.no_grad()
    def _follow(self, z: Tensor, indices: Tensor, weights: Tensor) -> None:
        """Move the averages towards this batch. Codebooks of positions that no sample kept do not change."""
        sums, counts = accumulate(z, indices, weights, self.codebook.shape[1])
        seen = (weights.sum(-1) > 0)[:, None]  # [G, 1]
        rate = (1 - self.decay) * seen.to(z.dtype)
        self.ema_sums.lerp_(sums, rate.unsqueeze(-1))
        self.ema_counts.lerp_(counts, rate)
        averages = self.ema_sums / self.ema_counts.clamp(min=1e-6).unsqueeze(-1)
        self.codebook.copy_(torch.where((self.ema_counts > 1e-6).unsqueeze(-1), averages, self.codebook))
        if self.dead_threshold > 0:
            uniform = self.ema_counts.mean(-1, keepdim=True)
            dead = (self.ema_counts < self.dead_threshold * uniform) & seen
            self._replace(dead, draw_vectors(z, weights, self.codebook.shape[1]), uniform.expand_as(self.ema_counts))

    def _replace(self, chosen: Tensor, vectors: Tensor, counts: Tensor) -> None:
        """Set the `chosen` [G, K] codes to `vectors` [G, K, D], as if they had been used `counts` [G, K] times."""
        self.codebook.copy_(torch.where(chosen.unsqueeze(-1), vectors, self.codebook))
        self.ema_counts.copy_(torch.where(chosen, counts, self.ema_counts))
        self.ema_sums.copy_(torch.where(chosen.unsqueeze(-1), vectors * counts.unsqueeze(-1), self.ema_sums))
