"""Results of sampling."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from anytime_core.budget import Budget
from anytime_core.sampling.options import SamplingOptions


@dataclass(frozen=True)
class Sample:
    """One of `Samples`.

    Attributes:
        index: its global index.
        label: the number of its class, None for an unconditional prior.
        length: the number of its codes.
        x: [*sample_shape] on the CPU.
        codes: [n] int64 on the CPU, zero after the last one.
    """

    index: int
    label: int | None
    length: int
    x: Tensor
    codes: Tensor


@dataclass(frozen=True)
class Origin:
    """Where samples come from, for the record beside their files.

    Attributes:
        run: the opened run that drew them.
        budget: the budget of the call.
        options: how codes were drawn.
        completed: whether some of the codes were given.
    """

    run: Any
    budget: Budget
    options: SamplingOptions
    completed: bool = False


@dataclass(frozen=True, repr=False)
class Samples:
    """Samples and the codes they were decoded from.

    >>> samples = run.sample(16, budget=0.5)
    >>> samples.x.shape
    torch.Size([16, 1, 8, 8])
    >>> samples.numpy().dtype
    dtype('float32')
    >>> samples.save("new")
    PosixPath('new')

    Attributes:
        x: [B, *sample_shape] on the CPU.
        codes: [B, n] int64 on the CPU, zero after a sample's last code.
        lengths: [B], the number of codes of each sample; all are n unless the budget was adaptive or time ran out.
        labels: [B] int64, None for an unconditional prior.
        indices: the global index of each sample.
        calls: the number of calls of the prior's network for the batch.
        seconds: the time spent on `codes` and `decode`.
        origin: what drew them.
    """

    x: Tensor
    codes: Tensor
    lengths: Tensor
    labels: Tensor | None
    indices: tuple[int, ...]
    calls: int
    seconds: Mapping[str, float]
    origin: Origin = field(compare=False)

    def __repr__(self) -> str:
        return f"Samples({_described(self.x.shape, self.lengths, self.labels)})"

    def __len__(self) -> int:
        """B."""
        return len(self.x)

    def numpy(self) -> NDArray[np.float32]:
        """The samples as an array, [B, *sample_shape]."""
        return self.x.numpy()

    def save(
        self,
        folder: str | os.PathLike[str],
        *,
        suffix: str | None = None,
        progressive: bool = False,
        pack: bool = False,
        overwrite: bool = False,
    ) -> Path:
        """Write files, a preview and `samples.json`, as `anytime sample --out FOLDER` does.

        Args:
            folder: the folder, which is created if it is missing. Only files of an earlier job are ever replaced.
            suffix, progressive, pack: see `anytime_core.write_samples`.
            overwrite: whether to replace all files of an earlier job in `folder`.

        Returns:
            The folder.

        Raises:
            UsageError: files would be lost or mixed with other files; nothing is written then.
        """
        from anytime_core import write_samples
        from anytime_core.data.locations import user_path

        origin, path = self.origin, user_path(folder)
        write_samples(
            origin.run,
            path,
            self.indices,
            origin.budget,
            origin.options,
            suffix=suffix,
            progressive=progressive,
            pack=pack,
            overwrite=overwrite,
            drawn=self,
        )
        return path

    def __iter__(self) -> Iterator[Sample]:
        """Yield the samples one by one."""
        for (index, label, length), x, codes in zip(self.described(), self.x, self.codes, strict=True):
            yield Sample(index, label, length, x, codes)

    def described(self) -> Iterator[tuple[int, int | None, int]]:
        """Yield index, label and number of codes of each sample."""
        labels = [None] * len(self.indices) if self.labels is None else self.labels.tolist()
        return zip(self.indices, labels, self.lengths.tolist(), strict=True)

    def rows(self, start: int, stop: int) -> Samples:
        """Some of the samples."""
        part = slice(start, stop)
        return replace(
            self,
            x=self.x[part],
            codes=self.codes[part],
            lengths=self.lengths[part],
            labels=None if self.labels is None else self.labels[part],
            indices=self.indices[part],
        )


def joined(batches: Sequence[Samples]) -> Samples:
    """The batches of one call, at least one, joined; codes are padded with zeros to the longest."""
    longest = max(batch.codes.shape[1] for batch in batches)
    labels = [batch.labels for batch in batches if batch.labels is not None]
    return Samples(
        x=torch.cat([batch.x for batch in batches]),
        codes=torch.cat([F.pad(batch.codes, (0, longest - batch.codes.shape[1])) for batch in batches]),
        lengths=torch.cat([batch.lengths for batch in batches]),
        labels=torch.cat(labels) if labels else None,
        indices=tuple(index for batch in batches for index in batch.indices),
        calls=max(batch.calls for batch in batches),
        seconds={name: sum(batch.seconds[name] for batch in batches) for name in batches[0].seconds},
        origin=batches[0].origin,
    )


@dataclass(frozen=True, repr=False)
class Prefix:
    """The first codes of samples that are being drawn.

    Attributes:
        codes: [B, n] int64 on the CPU.
        labels: [B] int64, None for an unconditional prior.
        indices: the global index of each sample.
    """

    codes: Tensor
    labels: Tensor | None
    indices: tuple[int, ...]
    _decode: Callable[[Tensor], Tensor]

    def __repr__(self) -> str:
        lengths = torch.full((1,), self.codes.shape[1])
        return f"Prefix({_described(self.codes.shape[:1], lengths, self.labels)})"

    @cached_property
    def x(self) -> Tensor:
        """The samples from these codes, [B, *sample_shape] on the CPU, decoded when first needed."""
        return self._decode(self.codes)


def _described(shape: Sequence[int], lengths: Tensor, labels: Tensor | None) -> str:
    """The number of samples, their shape if it is known, their number of codes, and of classes."""
    batch, *sample = shape
    least, most = int(lengths.min()), int(lengths.max())
    parts = [
        f"{batch} of shape {list(sample)}" if sample else str(batch),
        f"{least} to {most} codes" if least < most else f"{most} {'code' if most == 1 else 'codes'} each",
        *([] if labels is None else [f"{_counted(len(labels.unique()))}"]),
    ]
    return ", ".join(parts)


def _counted(classes: int) -> str:
    return f"{classes} {'class' if classes == 1 else 'classes'}"
