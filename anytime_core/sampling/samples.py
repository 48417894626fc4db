"""Results of sampling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Samples:
    """Samples and the codes they were decoded from.

    Attributes:
        x: [B, *sample_shape] on the CPU.
        codes: [B, n] int64 on the CPU.
        labels: [B] int64, None for an unconditional prior.
        indices: global index of each sample.
        seconds: time spent on `codes` and `decode`.
    """

    x: Tensor
    codes: Tensor
    labels: Tensor | None
    indices: tuple[int, ...]
    seconds: Mapping[str, float]
