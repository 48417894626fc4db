"""Results of sampling."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor


@dataclass(frozen=True)
class Sample:
    """One of `Samples`.

    Attributes:
        index: global.
        label: the number of its class, None for an unconditional prior.
        length: number of its codes.
        x: [*sample_shape] on the CPU.
        codes: [n] int64 on the CPU, zero after the last one.
    """

    index: int
    label: int | None
    length: int
    x: Tensor
    codes: Tensor


@dataclass(frozen=True)
class Samples:
    """Samples and the codes they were decoded from.

    Attributes:
        x: [B, *sample_shape] on the CPU.
        codes: [B, n] int64 on the CPU, zero after a sample's last code.
        lengths: number of codes of each sample, [B]; all n unless the budget was adaptive or time ran out.
        labels: [B] int64, None for an unconditional prior.
        indices: global index of each sample.
        calls: of the prior's network, for the batch.
        seconds: time spent on `codes` and `decode`.
    """

    x: Tensor
    codes: Tensor
    lengths: Tensor
    labels: Tensor | None
    indices: tuple[int, ...]
    calls: int
    seconds: Mapping[str, float]

    def __iter__(self) -> Iterator[Sample]:
        """One after the other."""
        labels = [None] * len(self.indices) if self.labels is None else self.labels.tolist()
        for columns in zip(self.indices, labels, self.lengths.tolist(), self.x, self.codes, strict=True):
            yield Sample(*columns)


@dataclass(frozen=True)
class Prefix:
    """The first codes of samples that are being drawn.

    Attributes:
        codes: [B, n] int64 on the CPU.
        labels: [B] int64, None for an unconditional prior.
        indices: global index of each sample.
    """

    codes: Tensor
    labels: Tensor | None
    indices: tuple[int, ...]
    _decode: Callable[[Tensor], Tensor]

    @cached_property
    def x(self) -> Tensor:
        """The samples as far as they are known, [B, *sample_shape] on the CPU, decoded when first asked for."""
        return self._decode(self.codes)
