"""The sampler of priors that write one code after another.

Letters: B batch, n codes of a sample, N code length of the prior.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from anytime_core.budget import Budget
from anytime_core.errors import UsageError
from anytime_core.sampling.adaptive import Gains, draw_adaptively, measured_gains
from anytime_core.sampling.deadline import Pace
from anytime_core.sampling.draw import draw_codes
from anytime_core.sampling.engines import Engine, SteppedEngine, choose_engine, choose_precision
from anytime_core.sampling.engines.base import torch_threads
from anytime_core.sampling.noise import GumbelNoise
from anytime_core.sampling.sampler import Drawn, OnCode, Sampler, SamplingOptions
from anytime_core.sampling.samples import Origin, Prefix, Samples

if TYPE_CHECKING:
    from anytime_core.run import Run


class CodeSampler(Sampler[Engine]):
    """See `Sampler`: each code is one network call, and drawing ends after any of them."""

    def __init__(self, run: Run, options: SamplingOptions) -> None:
        super().__init__(run, options)
        if options.calls is not None or options.plan != "optimal":
            name = "plan" if options.calls is None else "calls"
            raise UsageError(
                f"{name} {getattr(options, name)} has no meaning for the prior of run {run.folder}, which draws one "
                "code a call: use --budget, or train with --set prior.kind=ardm"
            )

    def stream(self, indices: Sequence[int], lengths: Sequence[int] | None) -> Iterator[Prefix]:
        """Draw the samples of one batch, and give them after each of `lengths` codes, or as often as the engine can."""
        length = max(lengths) if lengths else self.prior.code_length
        labels = self._labels(indices)
        # Whoever reads two streams in turn would find captured graphs drawing both into the same buffers.
        stepped = bool(lengths) or self.options.engine == "auto"
        engine = self._engine(len(indices), len(indices), length, stepped=stepped)
        for codes in engine.draw(self._placed(labels), self._noise(indices, length), self.options.filtering):
            if lengths is None or codes.shape[1] in lengths:
                yield Prefix(codes.cpu().clone(), labels, tuple(indices), self.run.decode)

    def complete(self, codes: Tensor, known: Tensor, labels: Tensor | None) -> Samples:
        """See `Sampler`: each row's known codes are its first ones."""
        if (known[:, 1:] & ~known[:, :-1]).any():
            raise UsageError(
                f"the prior of run {self.run.folder} writes codes from first to last, and known codes come after "
                "unknown ones: give the first codes of each row, or train with --set prior.kind=ardm"
            )
        started = time.perf_counter()
        batch, length = codes.shape
        result, known = codes.to(self.run.device, copy=True), known.to(self.run.device)
        engine = self._engine(batch, batch, length, stepped=True)
        assert isinstance(engine, SteppedEngine)
        filtering, noise = self.options.filtering, self._noise(range(batch), length)
        decoder = engine.open_guided(self._placed(labels), batch, length, filtering)
        with torch.inference_mode():
            for position in range(length):
                with torch_threads(engine.threads(filtering.rows(batch))):
                    logits = decoder.step(position, result[:, position - 1] if position else None)
                    drawn = draw_codes(logits, noise.at(position), filtering)
                result[:, position] = torch.where(known[:, position], result[:, position], drawn)
        result = result.cpu()
        ended = time.perf_counter()
        x = self.run.decode(result)
        seconds = {"codes": ended - started, "decode": time.perf_counter() - ended}
        lengths, origin = torch.full((batch,), length), Origin(self.run, Budget(1.0), self.options, completed=True)
        return Samples(x, result, lengths, labels, tuple(range(batch)), length, seconds, origin)

    def _open(self, engine: Engine, indices: Sequence[int]) -> None:
        noise = self._noise(indices, self.prior.code_length)
        next(iter(engine.draw(self._placed(self._labels(indices)), noise, self.options.filtering)))

    def _draw(
        self,
        indices: Sequence[int],
        labels: Tensor | None,
        engine: Engine,
        length: int,
        budget: Budget,
        on_code: OnCode,
        pace: Pace | None,
    ) -> Drawn:
        noise = self._noise(indices, length)
        stops = on_code
        if pace is not None:
            pace.begin()
            stops = _either(on_code, pace.stops)
        if budget.threshold is not None:
            assert isinstance(engine, SteppedEngine)
            codes, lengths = draw_adaptively(
                engine, self._placed(labels), noise, self.options.filtering, self._gains, budget.threshold, stops
            )
            return Drawn(codes, lengths, codes.shape[1])
        for codes in engine.draw(self._placed(labels), noise, self.options.filtering):
            if pace is not None:
                self._synchronise()
            if stops(codes.shape[1]):
                break
        return Drawn(codes, torch.full((len(indices),), codes.shape[1]), codes.shape[1])

    @cached_property
    def _gains(self) -> Gains:
        return measured_gains(self.run.record, self.prior.code_length)

    def _noise(self, indices: Sequence[int], length: int) -> GumbelNoise:
        return GumbelNoise(self.options.seed, indices, length, self.prior.codebook_size, self.run.device)

    def _engine(self, batch: int, samples: int, length: int, *, stepped: bool = False) -> Engine:
        device, name, precision = self.run.device, self.options.engine, self.options.precision
        rows = self.options.filtering.rows(batch)
        if precision == "auto":
            precision = choose_precision(device, rows)
        if name == "auto":
            parameters = sum(parameter.numel() for parameter in self.prior.parameters())
            work = parameters * float(self.options.filtering.rows(samples) * length)
            name = choose_engine(device, precision, rows, work, stepped=stepped)
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
