"""The budgeted sampler: batches and streams of samples from an opened run.

Letters: B batch, n codes of a sample, N code length of the prior, K codebook size.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anytime_core.errors import UsageError, nearest
from anytime_core.sampling.adaptive import Gains, draw_adaptively, measured_gains
from anytime_core.sampling.batch_size import BatchSizes
from anytime_core.sampling.budget import Budget
from anytime_core.sampling.deadline import Deadline, Pace
from anytime_core.sampling.draw import Filter
from anytime_core.sampling.engines import (
    ENGINES,
    PRECISIONS,
    Engine,
    SteppedEngine,
    choose_engine,
    choose_precision,
)
from anytime_core.sampling.engines.base import torch_threads
from anytime_core.sampling.noise import GumbelNoise
from anytime_core.sampling.samples import Prefix, Samples

if TYPE_CHECKING:
    from anytime_core.run import Run

OnCode = Callable[[int], bool]
"""Called after each code, or each few of them, with the number of codes drawn of the batch; true ends it there."""

_THREADS_WORTH = 1.3
"""How much faster a decoding with a deadline has to be on all threads than on one."""
_LARGEST_NOISE = 2**28
"""Numbers of noise that a batch may need, 1 GiB."""


@dataclass(frozen=True)
class SamplingOptions:
    """How codes are drawn, whatever the budget.

    Attributes:
        seed: sample i of a seed is the same in every call.
        label: class name or number, a name first where a string is both; None takes each class in turn.
        filtering: changes to the prior's distribution.
        engine: `auto`, or a name in `ENGINES`.
        precision: `float32`, in which every engine draws the same codes; `bfloat16`; `int8`; or `auto`, what is fastest
            here without rounding weights to integers.
        batch_size: samples a batch; None finds it by measurement.
    """

    seed: int = 0
    label: int | str | None = None
    filtering: Filter = field(default_factory=Filter)
    engine: str = "auto"
    precision: str = "float32"
    batch_size: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise UsageError(f"seed {self.seed} is not a whole number in 0..2^63-1")
        if self.engine != "auto" and self.engine not in ENGINES:
            raise UsageError(
                f"no engine '{self.engine}'{nearest(self.engine, ENGINES)}: use auto, {', '.join(ENGINES)}"
            )
        if self.precision != "auto" and self.precision not in PRECISIONS:
            raise UsageError(f"no precision '{self.precision}': use auto, {', '.join(PRECISIONS)}")
        if self.batch_size is not None and (not isinstance(self.batch_size, int) or self.batch_size < 1):
            raise UsageError(f"batch size {self.batch_size} is not a whole number of at least 1")


class Sampler:
    """Draws samples from a run.

    Args:
        run: with a prior.
        options: how.

    Raises:
        RunError: the run has no prior yet.
        UsageError: an option that this run cannot follow.
    """

    def __init__(self, run: Run, options: SamplingOptions) -> None:
        self.run, self.options, self.prior = run, options, run.require_prior()
        self._label = run.label_number(options.label)
        self._largest_batch = max(1, _LARGEST_NOISE // (self.prior.code_length * self.prior.codebook_size))

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
            deadline: when the call ends, for a budget in seconds; the deadline is then the caller's own.
            on_code: see `OnCode`; the batch is decoded from what is drawn.
        """
        if budget.seconds is not None and deadline is None:
            deadline = Deadline(budget.seconds, self.run.costs, ["decode"])
        if deadline is not None:
            self.prepare(len(indices))
        sizes = self._batch_sizes(len(indices), timed=deadline is not None)
        first = 0
        while first < len(indices):
            batch = indices[first : first + sizes.next()]
            started = time.perf_counter()
            length = budget.most_codes(self.prior.code_length)
            engine = self._engine(len(batch), len(indices), length, stepped=budget.threshold is not None)
            pace = None
            if deadline is not None:
                pace = deadline.pace(len(batch), -(-(len(indices) - first) // len(batch)))
            yield self._batch(batch, engine, length, budget.threshold, on_code, pace)
            sizes.note(len(batch), time.perf_counter() - started)
            first += len(batch)

    def stream(self, indices: Sequence[int], lengths: Sequence[int] | None) -> Iterator[Prefix]:
        """Draw the samples of one batch, and give them after each of `lengths` codes, or as often as the engine can."""
        length = max(lengths) if lengths else self.prior.code_length
        labels = self._labels(indices)
        engine = self._engine(len(indices), len(indices), length, stepped=bool(lengths))
        for codes in engine.draw(self._placed(labels), self._noise(indices, length), self.options.filtering):
            if lengths is None or codes.shape[1] in lengths:
                yield Prefix(codes.cpu().clone(), labels, tuple(indices), self.run.decode)

    def prepare(self, samples: int) -> None:
        """Open what a job of `samples` samples with a deadline needs, and measure what decoding its batches costs.

        What this run has prepared before is not prepared again.
        """
        size = self._batch_sizes(samples, timed=True).next()
        for batch in {size, samples % size} - {0}:
            engine = self._engine(batch, samples, self.prior.code_length)
            if (batch, engine) not in self.run.prepared:
                self._prepare(batch, engine)

    def _prepare(self, batch: int, engine: Engine) -> None:
        """See `prepare`.

        The first decoding opens kernels and memory, so it is the second that counts. More threads than one have to be
        clearly faster: they wait for each other, which takes long where the machine has other things to do.
        """
        indices = range(batch)
        noise = self._noise(indices, self.prior.code_length)
        next(iter(engine.draw(self._placed(self._labels(indices)), noise, self.options.filtering)))
        codes = torch.zeros(batch, 1, dtype=torch.int64)
        self.run.decode(codes)
        alone, together = (self._decoding(codes, threads) for threads in (1, torch.get_num_threads()))
        threaded = together * _THREADS_WORTH < alone
        self.run.prepared[batch, engine] = torch.get_num_threads() if threaded else 1
        self.run.costs.note("decode", batch, together if threaded else alone)

    def _batch_sizes(self, samples: int, *, timed: bool) -> BatchSizes:
        """Sizes of the batches of a job of `samples` samples, which do not change where it has a deadline."""
        return BatchSizes(self.options.batch_size, min(samples, self._largest_batch), measures=not timed)

    def _decoding(self, codes: Tensor, threads: int) -> float:
        """Seconds that decoding takes."""
        started = time.perf_counter()
        with torch_threads(threads):
            self.run.decode(codes)
        return time.perf_counter() - started

    def _batch(
        self,
        indices: Sequence[int],
        engine: Engine,
        length: int,
        threshold: float | None,
        on_code: OnCode,
        pace: Pace | None,
    ) -> Samples:
        started = time.perf_counter()
        labels = self._labels(indices)
        noise = self._noise(indices, length)
        stops = on_code
        if pace is not None:
            pace.begin()
            stops = _either(on_code, pace.stops)
        if threshold is not None:
            assert isinstance(engine, SteppedEngine)
            codes, lengths = draw_adaptively(
                engine, self._placed(labels), noise, self.options.filtering, self._gains, threshold, stops
            )
        else:
            for codes in engine.draw(self._placed(labels), noise, self.options.filtering):
                if pace is not None and self.run.device.type == "cuda":
                    torch.cuda.synchronize(self.run.device)
                if stops(codes.shape[1]):
                    break
            lengths = torch.full((len(indices),), codes.shape[1])
        codes, lengths = codes.cpu().clone(), lengths.cpu()
        drawn = time.perf_counter()
        with torch_threads(self.run.prepared[len(indices), engine] if pace is not None else torch.get_num_threads()):
            x = self.run.decode(codes, lengths)
        ended = time.perf_counter()
        if pace is not None:
            self.run.costs.note("decode", len(indices), ended - drawn)
        return Samples(x, codes, lengths, labels, tuple(indices), {"codes": drawn - started, "decode": ended - drawn})

    @cached_property
    def _gains(self) -> Gains:
        return measured_gains(self.run.record, self.prior.code_length)

    def _labels(self, indices: Sequence[int]) -> Tensor | None:
        classes = self.prior.classes
        if not classes:
            return None
        return torch.tensor([index % classes if self._label is None else self._label for index in indices])

    def _placed(self, labels: Tensor | None) -> Tensor | None:
        return None if labels is None else labels.to(self.run.device)

    def _noise(self, indices: Sequence[int], length: int) -> GumbelNoise:
        return GumbelNoise(self.options.seed, indices, length, self.prior.codebook_size, self.run.device)

    def _engine(self, batch: int, samples: int, length: int, *, stepped: bool = False) -> Engine:
        """The engine for batches of `batch` out of `samples` samples of `length` codes; `stepped`: code by code."""
        device, name, precision = self.run.device, self.options.engine, self.options.precision
        if precision == "auto":
            precision = choose_precision(device, batch)
        if name == "auto":
            parameters = sum(parameter.numel() for parameter in self.prior.parameters())
            name = choose_engine(device, precision, batch, parameters * float(samples * length))
        engine = self.run.engine(name, precision)
        if stepped and not isinstance(engine, SteppedEngine):
            raise UsageError(f"engine '{name}' draws several codes at once, and cannot do this: use --engine eager")
        return engine


def _either(first: OnCode, second: Callable[[], bool]) -> OnCode:
    """True where any of two says so; both are always asked."""

    def stops(drawn: int) -> bool:
        late = second()
        return first(drawn) or late

    return stops
