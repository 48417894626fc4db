"""Samples into files, in order: threads make the files, while the next samples are drawn."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from torch import Tensor

from anytime_core.jobs.ledger import Ledger
from anytime_core.jobs.output import Output
from anytime_core.sampling.pending import PendingSamples
from anytime_core.sampling.samples import Samples
from anytime_core.threads import OrderedThreads, usable_cores

THREADS = "anytime-files"
"""How the names of its threads begin."""
_TOGETHER = 32
"""The most samples that a thread prepares at a time."""
_PARTS = 2
"""Into how many parts for each thread a batch is cut at least, so that none waits long for the slowest."""

Grown = Mapping[int, Tensor]
"""Numbers of codes -> what samples are after so many, [B, *sample_shape]; empty unless a job is progressive."""


@dataclass(frozen=True)
class WrittenBatch:
    """A batch whose files are written.

    Attributes:
        samples: the batch.
        grown: see `Grown`.
        seconds: what writing it took of the thread that draws, which waits for others.
    """

    samples: Samples
    grown: Grown
    seconds: float


class SampleWriter:
    """Writes batches of samples, in order, and tells the ledger of them. Use it in a `with` block.

    Where samples are drawn ahead, the files of a batch are made while the next one is drawn, and no third one is begun
    before the first is written: so memory stays the same however slow writing is.

    Args:
        output: takes the samples.
        ledger: told of each sample, when it has its place.
        classes: names of the labels.
        grow: returns what a progressive job also writes of a batch.
        single: whether each sample has a file of its own.
        threads: the most that make files; None: as many as there are cores.
    """

    def __init__(
        self,
        output: Output[Any],
        ledger: Ledger,
        classes: Sequence[str],
        *,
        grow: Callable[[Samples], Grown],
        single: bool,
        threads: int | None = None,
    ) -> None:
        self.output, self.ledger, self.classes, self.grow, self.single = output, ledger, classes, grow, single
        self._threads = OrderedThreads((threads or usable_cores()) if output.parallel else 1, THREADS)

    def __enter__(self) -> SampleWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.close(wait=not isinstance(error, KeyboardInterrupt))  # which ends the program at once

    def written(self, batches: Iterable[PendingSamples]) -> Iterator[WrittenBatch]:
        """Write batches as they are drawn; yield each when it is written, at the latest when the next but one is."""
        begun: deque[_Begun] = deque()
        for pending in batches:
            begun.append(self._begin(pending))
            waiting = 1 if self._threads.number > 1 and pending.moments is not None else 0
            while len(begun) > waiting:
                yield self._end(begun.popleft())
        while begun:
            yield self._end(begun.popleft())

    def _begin(self, pending: PendingSamples) -> _Begun:
        """Let threads make the files of a batch."""
        started = time.perf_counter()
        grown = self.grow(pending.samples)

        def prepare(rows: tuple[int, int]) -> list[Any]:
            part = slice(*rows)
            return self.output.prepare(pending.wait().rows(*rows), {codes: x[part] for codes, x in grown.items()})

        size = max(1, min(_TOGETHER, len(pending) // (_PARTS * self._threads.number)))
        parts = [(start, start + size) for start in range(0, len(pending), size)]
        return _Begun(pending, grown, self._threads.start(prepare, parts), time.perf_counter() - started)

    def _end(self, begun: _Begun) -> WrittenBatch:
        """Give the samples of a batch their places, as their files are made."""
        started = time.perf_counter()
        samples = begun.pending.wait()
        prepared = itertools.chain.from_iterable(begun.prepared)
        for (index, label, length), one in zip(samples.described(), prepared, strict=True):
            name, files = self.output.add(one)
            told = None if label is None else self.classes[label]
            entry: dict[str, Any] = {"file": name, "index": index, "label": told, "codes": length}
            if self.single:
                entry["bytes"] = files[name]
                if begun.grown:
                    entry["growth"] = {other: size for other, size in files.items() if other != name}
            self.ledger.add(entry, files)
        return WrittenBatch(samples, begun.grown, begun.seconds + time.perf_counter() - started)


@dataclass(frozen=True)
class _Begun:
    """A batch whose files are being made; `seconds` is what it took to begin."""

    pending: PendingSamples
    grown: Grown
    prepared: Iterator[list[Any]]
    seconds: float
