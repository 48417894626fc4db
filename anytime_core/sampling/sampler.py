"""The budgeted sampler: batches and streams of samples from an opened run, for any prior.

n is the number of codes of a sample, N the code length of the prior.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from anytime_core.budget import ANYWHERE, Budget, Limit, Spending, Unit
from anytime_core.capture import out_of_memory
from anytime_core.errors import AnytimeError
from anytime_core.exhaustion import explained
from anytime_core.priors.blame import blaming
from anytime_core.sampling.batch_size import BatchSizes, largest_batch
from anytime_core.sampling.deadline import Deadline, Pace
from anytime_core.sampling.guidance import check_guidance
from anytime_core.sampling.labels import LabelCounts
from anytime_core.sampling.options import SamplingOptions
from anytime_core.sampling.pending import PendingSamples, Pipe, pipe_from
from anytime_core.sampling.samples import Origin, Prefix, Samples
from anytime_core.sampling.source import Source
from anytime_core.threads import alone

OnCode = Callable[[int], bool]
"""Called after each code, or after every few codes, with the number of codes drawn; true ends the batch there."""

_THREADS_WORTH = 1.3
"""With a deadline, decoding uses all threads only if that is faster than one thread by this factor."""

AnyEngine = TypeVar("AnyEngine")


@dataclass(frozen=True)
class Drawn:
    """The codes of a batch.

    Attributes:
        codes: [B, n] int64.
        lengths: [B], the number of codes of each sample.
        calls: the number of calls of the prior's network.
    """

    codes: Tensor
    lengths: Tensor
    calls: int


class Sampler(ABC, Generic[AnyEngine]):
    """Draws samples from a run; `open_sampler` makes the one that its prior needs.

    Args:
        source: what is needed of the run.
        options: how codes are drawn.

    Raises:
        UsageError: the run cannot follow an option.
    """

    units: ClassVar[tuple[Unit, ...]] = ANYWHERE.units
    """The units of the budgets that it can keep."""

    def __init__(self, source: Source, options: SamplingOptions) -> None:
        self.source, self.options = source, options
        self.device = source.device
        check_guidance(source.prior, options.guidance, source.folder)
        self._label = source.labels.number(options.label)
        self._counts = LabelCounts(source.labels, options.labels) if options.labels else None
        self._largest_batch = largest_batch(self._kept_numbers, self.device)

    @property
    def spending(self) -> Spending:
        """The budgets that have a meaning for it."""
        return Spending(self.source.prior.code_length, self.units)

    @property
    @abstractmethod
    def _kept_numbers(self) -> int:
        """About how many numbers are kept for a sample while it is drawn."""

    def batches(
        self,
        indices: Sequence[int],
        budget: Budget,
        *,
        deadline: Deadline | None = None,
        on_code: OnCode = lambda drawn: False,
    ) -> Iterator[Samples]:
        """Draw the samples with the given global indices, a batch at a time.

        Args:
            indices: global sample indices; a sample follows from the seed and its index alone.
            budget: for the call as a whole.
            deadline: the end of the call, if the caller keeps a deadline of its own for a budget in seconds.
            on_code: see `OnCode`; the batch is decoded from the codes that are drawn.
        """
        for pending in self.pending_batches(indices, budget, deadline=deadline, on_code=on_code, ahead=False):
            yield pending.wait()

    def pending_batches(
        self,
        indices: Sequence[int],
        budget: Budget,
        *,
        deadline: Deadline | None = None,
        on_code: OnCode = lambda drawn: False,
        ahead: bool = True,
    ) -> Iterator[PendingSamples]:
        """As `batches`; but if `ahead`, a GPU still decodes and copies a batch when it is yielded.

        So the next batch is drawn meanwhile. With a deadline nothing is done ahead, as all work is measured.
        """
        limit = budget.limit(self.source.prior.code_length)
        self._check(budget, limit)
        if limit.seconds is not None and deadline is None:
            deadline = Deadline(limit.seconds, self.source.costs, ["decode"])
        if deadline is not None:
            self.prepare(len(indices))
        sizes = self._batch_sizes(len(indices), timed=deadline is not None)
        pipe = pipe_from(self.device) if ahead and deadline is None else None
        first = 0
        while first < len(indices):
            batch = indices[first : first + sizes.next()]
            started = time.perf_counter()
            try:
                with self._explained(len(batch)):
                    engine = self._engine(len(batch), len(indices), limit.length, timed=deadline is not None)
                    pace = None
                    if deadline is not None:
                        pace = deadline.pace(len(batch), -(-(len(indices) - first) // len(batch)))
                    drawn = self._batch(batch, engine, budget, limit, on_code, pace, pipe)
            except AnytimeError as error:
                if out_of_memory(error) and sizes.fall_back():
                    continue
                raise
            yield drawn
            sizes.note(len(batch), time.perf_counter() - started)
            first += len(batch)

    def _check(self, budget: Budget, limit: Limit) -> None:
        """Raise UsageError for a budget that this prior cannot keep."""

    @abstractmethod
    def stream(self, indices: Sequence[int], lengths: Sequence[int] | None) -> Iterator[Prefix]:
        """Draw the samples of one batch, and yield them at each of `lengths`, or after every code."""

    @abstractmethod
    def complete(self, codes: Tensor, known: Tensor, labels: Tensor | None) -> Samples:
        """Draw the unknown codes of one batch, given the known ones.

        Args:
            codes: [B, N]; the values of unknown codes do not matter.
            known: [B, N] bool.
            labels: [B], None for an unconditional prior.

        Raises:
            UsageError: the prior cannot be given these codes.
        """

    def _engine(self, batch: int, samples: int, length: int, *, timed: bool = False) -> AnyEngine:
        """The engine for batches of `batch` out of `samples` samples of `length` codes; `timed`: with a deadline."""
        engine: AnyEngine = self.source.engines.best(self.options, batch, samples, length)
        return engine

    @abstractmethod
    def _open(self, engine: AnyEngine, indices: Sequence[int]) -> None:
        """Let an engine do once what it will do again and again, so that it is ready."""

    @abstractmethod
    def _draw(
        self,
        indices: Sequence[int],
        labels: Tensor | None,
        engine: AnyEngine,
        limit: Limit,
        on_code: OnCode,
        pace: Pace | None,
    ) -> Drawn:
        """Draw the codes of a batch; `pace` begins when everything is ready for the first code."""

    def prepare(self, samples: int) -> None:
        """Open what a job of `samples` samples with a deadline needs, and measure the cost of decoding its batches.

        What was prepared before is not prepared again.
        """
        size = self._batch_sizes(samples, timed=True).next()
        for batch in {size, samples % size} - {0}:
            with self._explained(batch):
                engine = self._engine(batch, samples, self.source.prior.code_length, timed=True)
                if self._work(batch, engine) not in self.source.prepared:
                    self._prepare(batch, engine)

    def _work(self, batch: int, engine: AnyEngine) -> tuple[object, ...]:
        """What a batch with a deadline must be prepared for."""
        return batch, engine, self.options.shaping, self.options.guidance

    def _prepare(self, batch: int, engine: AnyEngine) -> None:
        """See `prepare`.

        The first decoding opens kernels and memory, so the second one counts. Several threads must be clearly faster
        than one: they wait for each other, which takes long if the machine is busy.
        """
        self._open(engine, range(batch))
        codes = torch.zeros(batch, 1, dtype=torch.int64)
        self._decoded(codes, None, threaded=True)
        single, together = (self._decoding(codes, threaded=threaded) for threaded in (False, True))
        threaded = together * _THREADS_WORTH < single
        self.source.prepared[self._work(batch, engine)] = threaded
        self.source.costs.note("decode", batch, together if threaded else single)

    @contextmanager
    def _explained(self, batch: int) -> Iterator[None]:
        """Explain what drawing and decoding may run out of, and name a plugin's prior if it fails."""
        memory = "lower the batch size, which is --batch-size of anytime sample"
        with explained(f"drawing {batch} samples at a time", memory=memory), blaming(self.source.prior.kind):
            yield

    def _batch_sizes(self, samples: int, *, timed: bool) -> BatchSizes:
        """The sizes of the batches of a job of `samples` samples; they do not change if it has a deadline."""
        largest = min(samples, self._largest_batch)
        return BatchSizes(self.options.batch_size, largest, measures=not timed, device=self.device)

    def _decoding(self, codes: Tensor, *, threaded: bool) -> float:
        """The seconds that decoding takes."""
        started = time.perf_counter()
        self._decoded(codes, None, threaded=threaded)
        return time.perf_counter() - started

    def _decoded(self, codes: Tensor, lengths: Tensor | None, *, threaded: bool) -> Tensor:
        """Samples [B, *sample_shape], decoded on all threads or on one."""
        if threaded:
            return self.source.decode(codes, lengths)
        return alone(lambda: self.source.decode(codes, lengths))

    def _batch(
        self,
        indices: Sequence[int],
        engine: AnyEngine,
        budget: Budget,
        limit: Limit,
        on_code: OnCode,
        pace: Pace | None,
        pipe: Pipe | None,
    ) -> PendingSamples:
        started, begun = time.perf_counter(), None if pipe is None else pipe.moment()
        labels = self._labels(indices)
        drawn = self._draw(indices, labels, engine, limit, on_code, pace)
        codes, lengths = drawn.codes.cpu().clone(), drawn.lengths.cpu()
        origin = Origin(self.source.run, budget, self.options)
        if pipe is not None and begun is not None:
            ended = pipe.moment()
            x = pipe.copied(self.source.decode_on_device(codes, lengths))
            samples = Samples(x, codes, lengths, labels, tuple(indices), drawn.calls, {}, origin)
            return PendingSamples(samples, (begun, ended, pipe.moment()))
        ended_drawing = time.perf_counter()
        threaded = pace is None or self.source.prepared[self._work(len(indices), engine)]
        x = self._decoded(codes, lengths, threaded=threaded)
        ended_decoding = time.perf_counter()
        if pace is not None:
            self.source.costs.note("decode", len(indices), ended_decoding - ended_drawing)
        seconds = {"codes": ended_drawing - started, "decode": ended_decoding - ended_drawing}
        return PendingSamples(Samples(x, codes, lengths, labels, tuple(indices), drawn.calls, seconds, origin))

    def _synchronise(self) -> None:
        """Wait for the device, so that time can be measured."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _labels(self, indices: Sequence[int]) -> Tensor | None:
        classes = self.source.prior.classes
        if not classes:
            return None
        if self._counts is not None:
            return torch.tensor([self._counts.label(index) for index in indices])
        return torch.tensor([index % classes if self._label is None else self._label for index in indices])

    def _placed(self, labels: Tensor | None) -> Tensor | None:
        return None if labels is None else labels.to(self.device)
