"""How many leading codes a training step keeps: prefix-length distributions and the prefix mask.

Lengths are drawn per sample, never one per batch: with one length per batch, as in Xu et al. 2021, the gradient of each
step would see a single length.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

Distribution = Literal["uniform", "geometric", "powers_of_two", "none"]


def length_probabilities(distribution: Distribution, code_length: int, *, ratio: float = 0.9) -> Tensor:
    """Probability of each prefix length 1..N.

    Args:
        distribution: `uniform` over 1..N (Xu et al. 2021); `geometric`, p(n) proportional to `ratio ** n` (nested
            dropout, Rippel et al. 2014); `powers_of_two`, uniform over 1, 2, 4, ... and N; `none`, always N.
        code_length: N.
        ratio: the geometric distribution's factor from one length to the next, in (0, 1).

    Returns:
        [N] float32, summing to one; entry i belongs to length i + 1.
    """
    lengths = torch.arange(1, code_length + 1)
    if distribution == "uniform":
        weights = torch.ones(code_length)
    elif distribution == "geometric":
        weights = (lengths * math.log(ratio)).softmax(0)  # powers of a small ratio would underflow
    elif distribution == "powers_of_two":
        weights = (((lengths & (lengths - 1)) == 0) | (lengths == code_length)).float()
    elif distribution == "none":
        weights = (lengths == code_length).float()
    else:
        raise ValueError(f"unknown truncation distribution {distribution!r}")
    return weights / weights.sum()


def draw_lengths(
    probabilities: Tensor, batch: int, *, full_share: float = 0.0, generator: torch.Generator | None = None
) -> Tensor:
    """Draw one prefix length per sample.

    Args:
        probabilities: [N], from `length_probabilities`.
        batch: B.
        full_share: the probability, for each sample, that it keeps all N codes whatever the distribution is.
        generator: the source of randomness, on the device of `probabilities`.

    Returns:
        [B] int64 in 1..N.
    """
    lengths = torch.multinomial(probabilities, batch, replacement=True, generator=generator) + 1
    if full_share > 0:
        full = torch.rand(batch, device=probabilities.device, generator=generator) < full_share
        lengths = torch.where(full, probabilities.shape[0], lengths)
    return lengths


def prefix_mask(lengths: Tensor, code_length: int) -> Tensor:
    """[B, N] bool, true where a code is kept: the first `lengths[b]` positions of each row."""
    return torch.arange(code_length, device=lengths.device) < lengths[:, None]
