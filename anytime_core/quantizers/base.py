"""The interface of every quantizer. Letters: B batch, N code length, D code dimension, K codebook size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Quantized:
    """What a quantizer makes of a batch of vectors.

    Attributes:
        vectors: [B, N, D], what the decoder sees; gradients pass straight through to the quantizer's input.
        codes: [B, N] int64 in 0..K-1, or None where codes are continuous.
        loss: [B] float32, the quantizer's own loss over the kept codes; zeros where it has none.
    """

    vectors: Tensor
    codes: Tensor | None
    loss: Tensor


class Quantizer(Protocol):
    """A module that turns [B, N, D] vectors into codes and back.

    `size` is K, or None for continuous codes; `shared` says whether all positions use one codebook.
    """

    size: int | None
    shared: bool

    def __call__(self, z: Tensor, kept: Tensor) -> Quantized:
        """Quantise `z` [B, N, D]; losses and statistics see only positions where `kept` [B, N] is true."""
        ...

    def encode(self, z: Tensor) -> Tensor:
        """Codes [B, N] int64 of `z` [B, N, D]. Raises ValueError for continuous codes."""
        ...

    def lookup(self, codes: Tensor) -> Tensor:
        """Vectors [B, n, D] of the codes at positions 0..n-1, `codes` [B, n] with n <= N."""
        ...

    def code_vectors(self) -> Tensor:
        """The table of all code vectors: [K, D] where positions share a codebook, else [N, K, D]."""
        ...
