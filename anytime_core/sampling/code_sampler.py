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
from anytime_core.priors.stepping import CapturedEngine, Engine
from anytime_core.sampling.adaptive import AdaptiveDrawing, Ending, EndingDrawing
from anytime_core.sampling.captured import CHUNK, CapturedLoops, every_chunk
from anytime_core.sampling.choices import Completing, Drawing
from anytime_core.sampling.deadline import Pace
from anytime_core.sampling.noise import noise_of
from anytime_core.sampling.options import SamplingOptions
from anytime_core.sampling.sampler import Drawn, OnCode, Sampler
from anytime_core.sampling.samples import Origin, Prefix, Samples
from anytime_core.sampling.source import Source
from anytime_core.sampling.steps import open_stepper, prefixes, steps
from anytime_core.triton_support import runs_triton


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
        """Draw the samples of one batch, and yield them at each of `lengths`, or after every code."""
        length = max(lengths) if lengths else self.prior.code_length
        labels = self._labels(indices)
        wanted = set(lengths or range(1, length + 1))
        with self._explained(len(indices)):
            engine = self._engine(len(indices), len(indices), length)
            for codes in self._prefixes(engine, labels, self._drawing(engine, indices, length), sorted(wanted)):
                if codes.shape[1] in wanted:
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
        given, counts = codes.T.to(self.device, copy=True).contiguous(), known.sum(1).to(self.device)
        with self._explained(batch):
            engine = self._engine(batch, batch, length)
            choice = Completing(self._drawing(engine, range(batch), length), given, counts)
            *_, drawn = self._prefixes(engine, labels, choice, [length])
        result = drawn.cpu().clone()
        ended = time.perf_counter()
        x = self.source.decode(result)
        seconds = {"codes": ended - started, "decode": time.perf_counter() - ended}
        lengths = torch.full((batch,), length)
        origin = Origin(self.source.run, Budget(1.0), self.options, completed=True)
        return Samples(x, result, lengths, labels, tuple(range(batch)), length, seconds, origin)

    def _open(self, engine: Engine, indices: Sequence[int]) -> None:
        length = self.prior.code_length
        drawing = self._drawing(engine, indices, length)
        ends = [1, min(1 + CHUNK, length)] if isinstance(engine, CapturedEngine) else [1]  # graphs of both sizes
        for codes in self._prefixes(engine, self._labels(indices), drawing, ends):
            if codes.shape[1] >= ends[-1]:
                break

    def _draw(
        self,
        indices: Sequence[int],
        labels: Tensor | None,
        engine: Engine,
        limit: Limit,
        on_code: OnCode,
        pace: Pace | None,
    ) -> Drawn:
        drawing = self._drawing(engine, indices, limit.length)
        stops = on_code
        if pace is not None:
            pace.begin()
            stops = _either(on_code, pace.stops)
        if limit.threshold is not None:
            return self._draw_adaptively(engine, labels, drawing, limit.threshold, stops)
        for codes in self._prefixes(engine, labels, drawing):
            if pace is not None:
                self._synchronise()
            if stops(codes.shape[1]):
                break
        return Drawn(codes, torch.full((len(indices),), codes.shape[1]), codes.shape[1])

    @torch.inference_mode()
    def _draw_adaptively(
        self, engine: Engine, labels: Tensor | None, drawing: Drawing, threshold: float, stops: OnCode
    ) -> Drawn:
        """Draw a batch. Each sample ends when its next code is expected to gain less than `threshold` average codes."""
        batch, length = drawing.noise.shape[:2]
        gains = self.source.gains()
        if isinstance(engine, CapturedEngine):
            return self._draw_adaptively_in_graphs(
                engine, labels, drawing, Ending(gains, threshold, batch, self.device), stops
            )
        stepper = self._open_stepper(engine, labels, batch, length)
        choose = AdaptiveDrawing(stepper, drawing.head, drawing.noise, drawing.shaping, gains, threshold)
        for number, _ in enumerate(steps(stepper, range(length), choose), 1):
            if choose.ended or stops(number):
                break
        codes = choose.codes[:, : int(choose.lengths.max())]
        return Drawn(codes, choose.lengths, codes.shape[1])

    def _draw_adaptively_in_graphs(
        self, engine: CapturedEngine, labels: Tensor | None, drawing: Drawing, ending: Ending, stops: OnCode
    ) -> Drawn:
        """The same, where rows that have ended are carried along, and the end of all is seen after every few codes."""
        batch, length = drawing.noise.shape[:2]
        choice = EndingDrawing(drawing, ending, torch.zeros(batch, dtype=torch.int64, device=self.device))
        with self._loops(engine).open(self._placed(labels), batch, length, choice, self.options.guidance) as loop:
            for end in every_chunk(length):
                codes = loop.draw(end)
                if loop.choice.ended or stops(end):
                    break
            lengths = loop.choice.lengths.clone()
        codes = codes[:, : int(lengths.max())]
        return Drawn(codes, lengths, codes.shape[1])

    def _prefixes(
        self, engine: Engine, labels: Tensor | None, choice: Drawing | Completing, ends: Sequence[int] | None = None
    ) -> Iterator[Tensor]:
        """Codes [B, 1], [B, 2], ... up to [B, n]; an engine may leave out those of lengths that are not in `ends`."""
        batch, length = choice.noise.shape[:2]
        if isinstance(engine, CapturedEngine):
            loops = self._loops(engine)
            return loops.prefixes(self._placed(labels), batch, length, choice, self.options.guidance, ends)
        stepper = self._open_stepper(engine, labels, batch, length)
        return prefixes(stepper, batch, length, choice, self.device)

    def _loops(self, engine: CapturedEngine) -> CapturedLoops:
        loops: Any = self.source.loops.setdefault(engine, CapturedLoops(engine, self.prior))
        return loops

    def _open_stepper(self, engine: Engine, labels: Tensor | None, batch: int, length: int) -> Any:
        return open_stepper(engine, self.prior, self._placed(labels), batch, length, self.options.guidance)

    @property
    def _kept_numbers(self) -> int:
        length, noise = self.prior.code_length, self.prior.distribution.noise.numbers
        whole = self.device.type == "cuda" and not runs_triton(self.device)  # which graphs need there
        return self.options.rows(1) * self.prior.kept_numbers + (length if whole else 1) * noise + length

    def _drawing(self, engine: Engine, indices: Sequence[int], length: int) -> Drawing:
        """What draws the codes of a batch, in captured work if the engine captures its steps."""
        noise = noise_of(self.options.seed, indices, length, self.prior.distribution.noise, self.device)
        if isinstance(engine, CapturedEngine):
            noise = noise.static()
        return Drawing(self.prior.distribution, noise, self.options.shaping)


def _either(first: OnCode, second: Callable[[], bool]) -> OnCode:
    """A function that is true if either of two is; both are always called."""

    def stops(drawn: int) -> bool:
        late = second()
        return first(drawn) or late

    return stops
