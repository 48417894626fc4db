"""The interfaces of priors. Letters: B batch, N code length, n a prefix length, K codebook size."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Prior(Protocol):
    """A module that models p(codes | label).

    Attributes:
        code_length: N, how many leading codes it models.
        codebook_size: K.
        classes: number of class labels, 0 for an unconditional model.
    """

    code_length: int
    codebook_size: int
    classes: int

    def __call__(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """Training loss of each sequence in nats per code, [B], of `codes` [B, N] and `labels` [B]."""
        ...

    def log_prob(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """Log probability of each code in nats, [B, N]; order-agnostic priors return a lower bound."""
        ...


class AutoregressivePrior(Prior, Protocol):
    """A prior that writes codes first to last."""

    def logits(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """Logits [B, n + 1, K] of the codes at positions 0..n, given the first n of them, `codes` [B, n]."""
        ...
