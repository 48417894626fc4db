"""The budgeted sampler: batches and streams of samples from an opened run, whatever its prior.

Letters: B batch, n codes of a sample, N code length of the prior, K codebook size.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from anytime_core.arguments import whole_number
from anytime_core.budget import ANYWHERE, Budget, Spending, Unit
from anytime_core.display import shown
from anytime_core.errors import UsageError, nearest
from anytime_core.exhaustion import explained
from anytime_core.priors import Prior
from anytime_core.sampling.batch_size import BatchSizes
from anytime_core.sampling.deadline import Deadline, Pace
from anytime_core.sampling.draw import Filter
from anytime_core.sampling.engines import ENGINES, PRECISIONS
from anytime_core.sampling.engines.base import torch_threads
from anytime_core.sampling.guidance import check_guidance
from anytime_core.sampling.labels import LabelCounts
from anytime_core.sampling.samples import Origin, Prefix, Samples

if TYPE_CHECKING:
    from anytime_core.run import Run

OnCode = Callable[[int], bool]
"""Called after each code, or each few of them, with the number of codes drawn of the batch; true ends it there."""

PLANS = ("optimal", "linear", "certain")

_THREADS_WORTH = 1.3
"""How much faster a decoding with a deadline has to be on all threads than on one."""
_LARGEST_NOISE = 2**28
"""Numbers of noise that a batch may need, 1 GiB."""

AnyEngine = TypeVar("AnyEngine")


@dataclass(frozen=True)
class SamplingOptions:
    """How codes are drawn, whatever the budget.

    Attributes:
        seed: sample i of a seed is the same in every call.
        label: name of a class, or its number, in text `index:3`; None takes each class in turn.
        labels: classes, as in `label`, and how many samples of each, one class after the other; empty: see `label`.
        filtering: changes to the prior's distribution.
        engine: `auto`, or a name in `ENGINES`.
        precision: `float32`, in which every engine draws the same codes; `bfloat16`; `int8`; or `auto`, what is fastest
            here without rounding weights to integers.
        batch_size: samples a batch; None finds it by measurement.
        calls: network calls of an order-agnostic prior; None: one for each code. With a deadline they are the most.
        plan: how such a prior shares the codes among the calls: `optimal`, by the losses seen in training; `linear`,
            the same number each; or `certain`, as many as with `optimal`, those first that it is most certain of.
    """

    seed: int = 0
    label: int | str | None = None
    filtering: Filter = field(default_factory=Filter)
    engine: str = "auto"
    precision: str = "float32"
    batch_size: int | None = None
    calls: int | None = None
    plan: str = "optimal"
    labels: tuple[tuple[int | str, int], ...] = ()

    def __post_init__(self) -> None:
        self._settle("seed", whole_number("seed", self.seed, "in 0..2^63-1", 0, 2**63 - 1))
        for name, what in (("batch_size", "batch size"), ("calls", "calls")):
            if getattr(self, name) is not None:
                self._settle(name, whole_number(what, getattr(self, name), "of at least 1", 1))
        if self.labels and self.label is not None:
            raise UsageError(f"label '{self.label}' and counts of labels say two things: leave one of them out")
        for label, count in self.labels:
            if label is None:
                raise UsageError("a count of samples needs a class: name it, or leave labels out for all classes")
            _ = whole_number(f"label '{shown(str(label))}': count", count, "of at least 1", 1)
        if self.engine != "auto" and self.engine not in ENGINES:
            raise UsageError(
                f"no engine '{self.engine}'{nearest(self.engine, ENGINES)}: use auto, {', '.join(ENGINES)}"
            )
        if self.precision != "auto" and self.precision not in PRECISIONS:
            raise UsageError(f"no precision '{self.precision}': use auto, {', '.join(PRECISIONS)}")
        if self.label is not None and not isinstance(self.label, str):
            self._settle("label", whole_number("label", self.label, "of at least 0, or the name of a class", 0))
        if self.plan not in PLANS:
            raise UsageError(f"no plan '{self.plan}'{nearest(self.plan, PLANS)}: use {', '.join(PLANS)}")

    def _settle(self, name: str, value: int) -> None:
        """Whole numbers of other types, such as NumPy's, are plain ones from here on."""
        object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Drawn:
    """Codes of a batch.

    Attributes:
        codes: [B, n] int64.
        lengths: number of codes of each sample, [B].
        calls: of the prior's network.
    """

    codes: Tensor
    lengths: Tensor
    calls: int


def _explained(batch: int) -> AbstractContextManager[None]:
    """What drawing and decoding may run out of."""
    return explained(
        f"drawing {batch} samples at a time", memory="lower the batch size, which is --batch-size of anytime sample"
    )


class Sampler(ABC, Generic[AnyEngine]):
    """Draws samples from a run; `Run.sampler` makes the one that its prior needs.

    Args:
        run: with a prior.
        options: how.

    Raises:
        RunError: the run has no prior yet.
        UsageError: an option that this run cannot follow.
    """

    units: ClassVar[tuple[Unit, ...]] = ANYWHERE.units
    """Of the budgets that it can keep."""

    def __init__(self, run: Run, options: SamplingOptions) -> None:
        self.run, self.options = run, options
        self.prior: Prior = run.require_prior()
        check_guidance(self.prior, options.filtering, run.folder)
        self._label = run.label_number(options.label)
        self._counts = LabelCounts(run, options.labels) if options.labels else None
        self._largest_batch = max(1, _LARGEST_NOISE // (self.prior.code_length * self.prior.codebook_size))

    @property
    def spending(self) -> Spending:
        """What its budgets can be."""
        return Spending(self.prior.code_length, self.units)

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
        self._check(budget)
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
            with _explained(len(batch)):
                engine = self._engine(len(batch), len(indices), length, stepped=budget.threshold is not None)
                pace = None
                if deadline is not None:
                    pace = deadline.pace(len(batch), -(-(len(indices) - first) // len(batch)))
                drawn = self._batch(batch, engine, length, budget, on_code, pace)
            yield drawn
            sizes.note(len(batch), time.perf_counter() - started)
            first += len(batch)

    def _check(self, budget: Budget) -> None:
        """Raise UsageError for a budget that this prior cannot keep."""

    @abstractmethod
    def stream(self, indices: Sequence[int], lengths: Sequence[int] | None) -> Iterator[Prefix]:
        """Draw the samples of one batch, and give them after each of `lengths` codes, or as often as the engine can."""

    @abstractmethod
    def complete(self, codes: Tensor, known: Tensor, labels: Tensor | None) -> Samples:
        """Draw the codes of one batch that are not known, given those that are.

        Args:
            codes: [B, N]; whatever stands where nothing is known is not looked at.
            known: [B, N] bool.
            labels: [B], None for an unconditional prior.

        Raises:
            UsageError: the prior cannot be given just these codes.
        """

    @abstractmethod
    def _engine(self, batch: int, samples: int, length: int, *, stepped: bool = False) -> AnyEngine:
        """The engine for batches of `batch` out of `samples` samples of `length` codes; `stepped`: code by code."""

    @abstractmethod
    def _open(self, engine: AnyEngine, indices: Sequence[int]) -> None:
        """Have an engine do once what it will do again and again, so that it is ready."""

    @abstractmethod
    def _draw(
        self,
        indices: Sequence[int],
        labels: Tensor | None,
        engine: AnyEngine,
        length: int,
        budget: Budget,
        on_code: OnCode,
        pace: Pace | None,
    ) -> Drawn:
        """Draw the codes of a batch; `pace` begins when all is ready for the first one."""

    def prepare(self, samples: int) -> None:
        """Open what a job of `samples` samples with a deadline needs, and measure what decoding its batches costs.

        What this run has prepared before is not prepared again.
        """
        size = self._batch_sizes(samples, timed=True).next()
        for batch in {size, samples % size} - {0}:
            with _explained(batch):
                engine = self._engine(batch, samples, self.prior.code_length)
                if (batch, engine) not in self.run.prepared:
                    self._prepare(batch, engine)

    def _prepare(self, batch: int, engine: AnyEngine) -> None:
        """See `prepare`.

        The first decoding opens kernels and memory, so it is the second that counts. More threads than one have to be
        clearly faster: they wait for each other, which takes long where the machine has other things to do.
        """
        self._open(engine, range(batch))
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
        engine: AnyEngine,
        length: int,
        budget: Budget,
        on_code: OnCode,
        pace: Pace | None,
    ) -> Samples:
        started = time.perf_counter()
        labels = self._labels(indices)
        drawn = self._draw(indices, labels, engine, length, budget, on_code, pace)
        codes, lengths = drawn.codes.cpu().clone(), drawn.lengths.cpu()
        ended_drawing = time.perf_counter()
        with torch_threads(self.run.prepared[len(indices), engine] if pace is not None else torch.get_num_threads()):
            x = self.run.decode(codes, lengths)
        ended = time.perf_counter()
        if pace is not None:
            self.run.costs.note("decode", len(indices), ended - ended_drawing)
        seconds = {"codes": ended_drawing - started, "decode": ended - ended_drawing}
        origin = Origin(self.run, budget, self.options)
        return Samples(x, codes, lengths, labels, tuple(indices), drawn.calls, seconds, origin)

    def _synchronise(self) -> None:
        """Wait for the device, where time is measured."""
        if self.run.device.type == "cuda":
            torch.cuda.synchronize(self.run.device)

    def _labels(self, indices: Sequence[int]) -> Tensor | None:
        classes = self.prior.classes
        if not classes:
            return None
        if self._counts is not None:
            return torch.tensor([self._counts.label(index) for index in indices])
        return torch.tensor([index % classes if self._label is None else self._label for index in indices])

    def _placed(self, labels: Tensor | None) -> Tensor | None:
        return None if labels is None else labels.to(self.run.device)
