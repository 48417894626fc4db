"""Codes of the samples that an evaluation judges, kept on the disk meanwhile.

If the prior writes code after code, they are drawn once for all budgets: a budget of n codes draws the first n codes of
a sample. Several processes share the drawing by blocks of samples, with a file for each.
S is the number of samples, n that of their codes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anytime_core.budget import Budget
from anytime_core.data.files import open_own
from anytime_core.digest import digest
from anytime_core.distributed import launched
from anytime_core.errors import RunError
from anytime_core.evaluation.options import EvaluationOptions
from anytime_core.priors.any_order.base import AnyOrderPrior
from anytime_core.run import Run
from anytime_core.sampling.guidance import check_guidance
from anytime_core.sampling.options import SamplingOptions

CODES_PREFIX = ".codes-"
"""Start of the names of the files."""

_POLL_SECONDS = 0.1


class DrawnCodes:
    """S sequences of n codes in files that grow as they are drawn, so that a killed evaluation goes on with them.

    Args:
        folder: where the files are; their names follow from everything else, and from the number of processes.
        run: they are drawn from it.
        num: S.
        length: n.
        options: how the samples 0, 1, ..., S - 1 are drawn, the classes in turn.
    """

    def __init__(self, folder: Path, run: Run, num: int, length: int, options: SamplingOptions) -> None:
        self.run, self.num, self.length, self.options = run, num, length, options
        described = {
            "run": str(run.folder.resolve()),
            "trained": run.record.model_dump(mode="json", include={"created", "stages"}),
            "num": num,
            "length": length,
            "options": asdict(options),
        }
        name = digest(described)[:12]
        self.rank, processes = launched()
        block = -(-num // processes)
        self.parts = [
            (range(first, min(first + block, num)), folder / f"{CODES_PREFIX}{name}-{number}of{processes}.bin")
            for number, first in enumerate(range(0, block * processes, block))
        ]
        self._row = length * np.dtype(np.uint32).itemsize

    def draw(self, on_drawn: Callable[[int], None] = lambda done: None) -> None:
        """Draw what is missing of this process's block; `on_drawn` gets the number of its samples that are drawn."""
        indices, path = self.parts[self.rank]
        with open_own(path, "a+b") as file:
            done = min(file.seek(0, os.SEEK_END) // self._row, len(indices))
            file.truncate(done * self._row)
            file.seek(0, os.SEEK_END)
            left = indices[done:]
            batches = self.run.sample_batches(left, Budget(self.length, "codes"), self.options) if left else ()
            for samples in batches:
                file.write(samples.codes.numpy().astype(np.uint32).tobytes())
                file.flush()
                done += len(samples.codes)
                on_drawn(done)

    def wait(self) -> None:
        """Wait for the other processes' blocks; their launcher ends all processes if one fails."""
        for indices, path in self.parts:
            while not path.exists() or path.stat().st_size < len(indices) * self._row:
                time.sleep(_POLL_SECONDS)

    def decoded(self, codes: int, batch: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """The samples, decoded from their first `codes` codes, and their labels, `batch` at a time."""
        prior = self.run.require_prior()
        classes = prior.classes
        stored = [(indices, path, self._rows(path, len(indices))) for indices, path in self.parts if indices]
        for first in range(0, self.num, batch):
            parts = []
            for indices, path, rows in stored:
                own = rows[max(0, first - indices.start) : max(0, first + batch - indices.start), :codes]
                if own.size and own.max() >= prior.codebook_size:
                    raise RunError(f"{path} is damaged: it holds codes that there are none of; remove it and try again")
                parts.append(torch.from_numpy(own.astype(np.int64)))
            joined = torch.cat(parts)
            labels = torch.arange(first, first + len(joined)) % classes if classes else None
            yield self.run.decode(joined), labels

    def _rows(self, path: Path, count: int) -> np.memmap:
        """The codes in a file, [count, n]."""
        with open_own(path, "rb") as file:
            return np.memmap(file, np.uint32, "r", shape=(count, self.length))


class Draws:
    """Which samples of a run an evaluation draws.

    Attributes:
        most: the most codes that they have.
        codes: numbers of codes that are evaluated, ascending.
    """

    def __init__(self, run: Run, folder: Path, options: EvaluationOptions, codes: Sequence[int]) -> None:
        self.run, self.folder, self.options = run, folder, options
        if run.prior is not None:
            check_guidance(run.prior, options.sampling.guidance, run.folder)
        self.most = run.prior.code_length if run.prior is not None else run.code_length
        # A run with fewer codes is compared at the numbers that it has, and at all of them.
        self.codes = sorted({min(number, self.most) for number in codes})

    @property
    def limits(self) -> list[int | None]:
        """The numbers of calls that the options name; None is one call a code, and not repeated as a number."""
        if not isinstance(self.run.prior, AnyOrderPrior):
            return [None]
        every = self.calls(self.most, None)
        return list(dict.fromkeys(None if self.calls(self.most, one) == every else one for one in self.options.calls))

    def calls(self, codes: int, limit: int | None) -> int:
        """How many calls draw `codes` codes, if `limit` is the most."""
        if not isinstance(self.run.prior, AnyOrderPrior):
            return codes
        stages = len(self.run.prior.digits)
        return stages * codes if limit is None else max(stages, min(limit, stages * codes))

    def drawn(self, codes: int, calls: int) -> DrawnCodes:
        """The codes of new samples: one set for all budgets if codes come in order, else one for each."""
        ordered = not isinstance(self.run.prior, AnyOrderPrior)
        length = self.most if ordered else codes
        return DrawnCodes(self.folder, self.run, self.options.num, length, self.sampling(None if ordered else calls))

    def sampling(self, calls: int | None) -> SamplingOptions:
        """How new samples are drawn; calls and plan only matter to an order-agnostic prior."""
        if isinstance(self.run.prior, AnyOrderPrior):
            return replace(self.options.sampling, calls=calls)
        return replace(self.options.sampling, calls=None, plan="optimal")

    def share(self) -> None:
        """Draw this process's part of all samples."""
        for limit in self.limits if self.run.prior is not None else ():
            for codes in self.codes:
                self.drawn(codes, self.calls(codes, limit)).draw()
