"""No quantisation: continuous codes, as in the analysis of Xu et al. 2021 (linear networks recover PCA)."""

from __future__ import annotations

from typing import NoReturn

from torch import Tensor

from anytime_core.quantizers.base import Quantized, Quantizer


class ContinuousCodes(Quantizer):
    """Passes vectors through unchanged. Such an autoencoder can be trained and evaluated, but no prior can learn it."""

    def __init__(self, code_length: int, code_dim: int) -> None:
        super().__init__()
        self.size = None
        self.shared = True

    def forward(self, z: Tensor, kept: Tensor) -> Quantized:
        """`z` [B, N, D], unchanged."""
        return Quantized(vectors=z, codes=None, loss=z.new_zeros(z.shape[0]))

    def encode(self, z: Tensor) -> NoReturn:
        """Raises ValueError: continuous codes have no indices."""
        raise ValueError("continuous codes have no indices: choose autoencoder.quantizer.kind vq or fsq")

    def lookup(self, codes: Tensor) -> NoReturn:
        """Raises ValueError: continuous codes have no indices."""
        self.encode(codes)

    def code_vectors(self) -> NoReturn:
        """Raises ValueError: continuous codes have no table."""
        raise ValueError("continuous codes have no table of code vectors")
