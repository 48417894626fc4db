"""Codes of the samples that an evaluation judges, kept on the disk meanwhile.

Of a prior that writes code after code they are drawn once for all budgets: the first n codes of a sample are those that
a budget of n codes draws. Letters: S samples, n codes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anytime_core.errors import RunError
from anytime_core.run import Run
from anytime_core.sampling.budget import Budget
from anytime_core.sampling.sampler import SamplingOptions


class DrawnCodes:
    """S sequences of n codes in a file that grows as they are drawn, so that a killed evaluation goes on with it.

    Args:
        file: made where it is missing.
        run: that they are drawn from.
        num: S.
        length: n.
        options: how the samples 0, 1, ..., S - 1 are drawn, the classes in turn.
    """

    def __init__(self, file: Path, run: Run, num: int, length: int, options: SamplingOptions) -> None:
        self.file, self.run, self.num, self.length, self.options = file, run, num, length, options

    def draw(self, on_drawn: Callable[[int], None]) -> None:
        """Draw what is missing; `on_drawn` is told the number of samples there are."""
        row = self.length * np.dtype(np.uint32).itemsize
        with self.file.open("ab") as file:
            done = file.tell() // row
            file.truncate(done * row)
            batches = self.run.sample_batches(range(done, self.num), Budget(self.length, "codes"), self.options)
            for samples in batches if done < self.num else ():
                file.write(samples.codes.numpy().astype(np.uint32).tobytes())
                file.flush()
                done += len(samples.codes)
                on_drawn(done)

    def decoded(self, codes: int, batch: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The samples from their first `codes` codes and what they are meant to be, `batch` at a time."""
        prior = self.run.require_prior()
        classes = prior.classes
        stored = np.memmap(self.file, np.uint32, "r", shape=(self.num, self.length))
        for first in range(0, self.num, batch):
            part = torch.from_numpy(stored[first : first + batch, :codes].astype(np.int64))
            if part.max() >= prior.codebook_size:
                raise RunError(
                    f"{self.file} is damaged: it holds codes that there are none of; remove it and try again"
                )
            labels = torch.arange(first, first + len(part)) % classes if classes else None
            yield self.run.decode(part), labels
