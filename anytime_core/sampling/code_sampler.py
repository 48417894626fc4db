"""The sampler of priors that write one code after another.

n is the number of codes of a sample, N the code length of the prior.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from anytime_core.budget import Budget, Limit
from anytime_core.errors import UsageError
from anytime_core.priors.base import CausalPrior
from anytime_core.priors.blame import blaming
from anytime_core.priors.stepping import CapturedEngine, Engine
from anytime_core.sampling.adaptive import AdaptiveDrawing
from anytime_core.sampling.captured import CapturedLoops
from anytime_core.sampling.choices import Drawing
from anytime_core.sampling.deadline import Pace
from anytime_core.sampling.noise import Noise, noise_of
from anytime_core.sampling.options import SamplingOptions
from anytime_core.sampling.sampler import Drawn, OnCode, Sampler
from anytime_core.sampling.samples import Origin, Prefix, Samples
from anytime_core.sampling.source import Source
from anytime_core.sampling.steps import open_stepper, prefixes, steps


class CodeSampler(Sampler[Engine]):
    """See `Sampler`: each code is one network call, and drawing can end after any of them."""

    def __init__(self, source: Source, options: SamplingOptions) -> None:
        assert isinstance(source.prior, CausalPrior)
        self.prior = source.prior
        super().__init__(source, options)
        if options.calls is not None or options.plan != "optimal":
            name = "plan" if options.calls is None else "calls"
            raise UsageError(
                f"{name} {getattr(options, name)} has no meaning for the prior of run {source.folder}, which draws one "
                "code a call: use --budget, or train with --set prior.kind=ardm"
            )

    def stream(self, indices: Sequence[int], lengths: Sequence[int] | None) -> Iterator[Prefix]:
        """Draw the samples of one batch, and yield them at each of `lengths`, or as often as the engine can."""
        length = max(lengths) if lengths else self.prior.code_length
        labels = self._labels(indices)
        stepped = bool(lengths) or self.options.engine == "auto"  # so that they come after every code
        with blaming(self.prior.kind):
            engine = self._engine(len(indices), len(indices), length, stepped=stepped)
            for codes in self._prefixes(engine, labels, self._noise(indices, length)):
                if lengths is None or codes.shape[1] in lengths:
                    yield Prefix(codes.cpu().clone(), labels, tuple(indices), self.source.decode)

    def complete(self, codes: Tensor, known: Tensor, labels: Tensor | None) -> Samples:
        """See `Sampler`: the known codes of each row must be its first ones."""
        if (known[:, 1:] & ~known[:, :-1]).any():
            raise UsageError(
                f"the prior of run {self.source.folder} writes codes from first to last, and known codes come after "
                "unknown ones: give the first codes of each row, or train with --set prior.kind=ardm"
            )
        started = time.perf_counter()
        batch, length = codes.shape
        given, known = codes.to(self.device), known.to(self.device)
        draw = Drawing(self.prior.distribution, self._noise(range(batch), length), self.options.shaping)

        def choose(position: int, parameters: Tensor) -> Tensor:
            return torch.where(known[:, position], given[:, position], draw(position, parameters))

        with blaming(self.prior.kind), torch.inference_mode():
            engine = self._engine(batch, batch, length, stepped=True)
            drawn = list(steps(self._open_stepper(engine, labels, batch, length), range(length), choose))
        result = torch.stack(drawn, 1).cpu()
        ended = time.perf_counter()
        x = self.source.decode(result)
        seconds = {"codes": ended - started, "decode": time.perf_counter() - ended}
        lengths = torch.full((batch,), length)
        origin = Origin(self.source.run, Budget(1.0), self.options, completed=True)
        return Samples(x, result, lengths, labels, tuple(range(batch)), length, seconds, origin)

    def _open(self, engine: Engine, indices: Sequence[int]) -> None:
        noise = self._noise(indices, self.prior.code_length)
        next(iter(self._prefixes(engine, self._labels(indices), noise)))

    def _draw(
        self,
        indices: Sequence[int],
        labels: Tensor | None,
        engine: Engine,
        limit: Limit,
        on_code: OnCode,
        pace: Pace | None,
    ) -> Drawn:
        noise = self._noise(indices, limit.length)
        stops = on_code
        if pace is not None:
            pace.begin()
            stops = _either(on_code, pace.stops)
        if limit.threshold is not None:
            return self._draw_adaptively(engine, labels, noise, limit.threshold, stops)
        for codes in self._prefixes(engine, labels, noise):
            if pace is not None:
                self._synchronise()
            if stops(codes.shape[1]):
                break
        return Drawn(codes, torch.full((len(indices),), codes.shape[1]), codes.shape[1])

    @torch.inference_mode()
    def _draw_adaptively(
        self, engine: Engine, labels: Tensor | None, noise: Noise, threshold: float, stops: OnCode
    ) -> Drawn:
        """Draw a batch. Each sample ends when its next code is expected to gain less than `threshold` average codes."""
        batch, length = noise.shape[:2]
        stepper = self._open_stepper(engine, labels, batch, length)
        gains, shaping = self.source.gains(), self.options.shaping
        choose = AdaptiveDrawing(stepper, self.prior.distribution, noise, shaping, gains, threshold)
        for number, _ in enumerate(steps(stepper, range(length), choose), 1):
            if choose.ended or stops(number):
                break
        codes = choose.codes[:, : int(choose.lengths.max())]
        return Drawn(codes, choose.lengths, codes.shape[1])

    def _prefixes(self, engine: Engine, labels: Tensor | None, noise: Noise) -> Iterator[Tensor]:
        """Codes [B, 1], [B, 2], ... up to [B, n]; an engine may skip lengths."""
        batch, length = noise.shape[:2]
        shaping, guidance = self.options.shaping, self.options.guidance
        if isinstance(engine, CapturedEngine):
            loops: Any = self.source.loops.setdefault(engine, CapturedLoops(engine, self.prior))
            choice = Drawing(self.prior.distribution, noise.static(), shaping)
            return loops.prefixes(self._placed(labels), batch, length, choice, guidance)
        stepper = self._open_stepper(engine, labels, batch, length)
        return prefixes(stepper, batch, length, Drawing(self.prior.distribution, noise, shaping), self.device)

    def _open_stepper(self, engine: Engine, labels: Tensor | None, batch: int, length: int) -> Any:
        return open_stepper(engine, self.prior, self._placed(labels), batch, length, self.options.guidance)

    @property
    def _noise_numbers(self) -> int:
        return self.prior.code_length * self.prior.distribution.noise.numbers

    def _noise(self, indices: Sequence[int], length: int) -> Noise:
        return noise_of(self.options.seed, indices, length, self.prior.distribution.noise, self.device)

    def _engine(self, batch: int, samples: int, length: int, *, stepped: bool = False) -> Engine:
        engine = super()._engine(batch, samples, length, stepped=stepped)
        if stepped and isinstance(engine, CapturedEngine):
            raise UsageError(
                f"engine '{engine.name}' draws several codes at once, and cannot do this: use --engine eager"
            )
        return engine


def _either(first: OnCode, second: Callable[[], bool]) -> OnCode:
    """A function that is true if either of two is; both are always called."""

    def stops(drawn: int) -> bool:
        late = second()
        return first(drawn) or late

    return stops
