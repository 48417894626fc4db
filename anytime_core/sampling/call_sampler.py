"""The sampler of order-agnostic priors, which also has a budget of network calls."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from anytime_core.budget import Budget, Limit
from anytime_core.errors import UsageError
from anytime_core.priors.any_order.base import AnyOrderPrior
from anytime_core.priors.any_order.calls import CallEngine, Group, PartialCodes
from anytime_core.priors.any_order.plan import Plan, make_plan
from anytime_core.priors.heads import NoiseNeed
from anytime_core.sampling.deadline import Pace
from anytime_core.sampling.in_calls import OnCall, draw_in_calls, sample_orders
from anytime_core.sampling.noise import noise_of
from anytime_core.sampling.options import SamplingOptions
from anytime_core.sampling.sampler import Drawn, OnCode, Sampler
from anytime_core.sampling.samples import Origin, Prefix, Samples
from anytime_core.sampling.source import Source

_CALL = "call"
"""The name under which `Costs` keeps the time of a call, by the number of sequences that go through the network."""


class CallSampler(Sampler[CallEngine]):
    """See `Sampler`: a call draws any number of codes, in any order.

    Codes are drawn for the positions that the budget buys, and the other positions are left out. A sample needs all
    these codes, so if drawing is stopped earlier, one call draws the rest. A deadline limits calls, not codes.
    """

    units = ("share", "codes", "seconds")

    def __init__(self, source: Source, options: SamplingOptions) -> None:
        assert isinstance(source.prior, AnyOrderPrior)
        self.prior = source.prior
        super().__init__(source, options)

    def _check(self, budget: Budget, limit: Limit) -> None:
        """Raise UsageError for an adaptive budget, or for more calls than codes."""
        if limit.threshold is not None:
            raise UsageError(
                f"budget {budget} ends samples code by code, and the prior of run {self.source.folder} draws them in "
                "no order: use a share or a number of codes, and calls"
            )
        self._plan(limit.length, self.options.calls)

    def stream(self, indices: Sequence[int], lengths: Sequence[int] | None) -> Iterator[Prefix]:
        """See `Sampler`: the codes of the first length are drawn first, and the lengths share the calls evenly."""
        ends = sorted(set(lengths or range(1, self.prior.code_length + 1)))
        calls = self.options.calls
        if calls is not None and calls < len(ends) * len(self.prior.digits):
            raise UsageError(
                f"{calls} calls cannot give samples after {len(ends)} numbers of codes: use more calls or fewer budgets"
            )
        labels = self._labels(indices)
        engine = self._engine(len(indices), len(indices), ends[-1])
        partial = self._blank(indices, labels, ends[-1])
        known = 0
        for number, end in enumerate(ends):
            share = None
            if calls is not None:
                share = calls * (number + 1) // len(ends) - calls * number // len(ends)
                share = min(share, (end - known) * len(self.prior.digits))
            # Known codes come first in the order, and codes that are not wanted yet are left out.
            later = (partial.order >= known).long() + (partial.order >= end)
            order = partial.order.gather(1, later.sort(dim=1, stable=True).indices[:, :end])
            codes, _ = self._fill(engine, replace(partial, order=order), known, self._plan(end, share, known))
            partial.tokens = self._tokens(codes, end)
            known = end
            yield Prefix(codes[:, :end].cpu().clone(), labels, tuple(indices), self.source.decode)

    def complete(self, codes: Tensor, known: Tensor, labels: Tensor | None) -> Samples:
        """See `Sampler`: any codes may be known."""
        started = time.perf_counter()
        length, stages = self.prior.code_length, len(self.prior.digits)
        result, most_calls = codes.clone(), 0
        counts = known.sum(1)
        for count in counts.unique().tolist():
            rows = (counts == count).nonzero().squeeze(1)
            if count == length:
                continue
            partial = self._blank(rows.tolist(), None if labels is None else labels[rows], length)
            given = known[rows].to(partial.order.device)
            first = (~given.gather(1, partial.order)).sort(dim=1, stable=True).indices
            partial.order = partial.order.gather(1, first)
            partial.tokens = self._tokens(codes[rows].to(partial.order.device), length) * given
            calls = None if self.options.calls is None else min(self.options.calls, stages * (length - count))
            engine = self._engine(len(rows), len(codes), length)
            drawn, used = self._fill(engine, partial, count, self._plan(length, calls, count))
            result[rows], most_calls = drawn.cpu(), max(most_calls, used)
        lengths = torch.full((len(codes),), length)
        ended = time.perf_counter()
        x = self.source.decode(result)
        seconds = {"codes": ended - started, "decode": time.perf_counter() - ended}
        origin = Origin(self.source.run, Budget(1.0), self.options, completed=True)
        return Samples(x, result, lengths, labels, tuple(range(len(codes))), most_calls, seconds, origin)

    def _engine(self, batch: int, samples: int, length: int, *, timed: bool = False) -> CallEngine:
        # A deadline decides which calls are made, so they cannot be captured before.
        return super()._engine(batch, batch if timed else samples, length)

    def _open(self, engine: CallEngine, indices: Sequence[int]) -> None:
        """See `Sampler`. It also measures a call that draws one code when half of the codes are known."""
        length = self.prior.code_length
        for _ in range(2):
            with engine.open(self._blank(indices, self._labels(indices), length)) as partial:
                self._synchronise()
                started = time.perf_counter()
                engine.call(partial, Group(0, length // 2, 1, False), self.options.shaping, self.options.guidance)
                self._synchronise()
                seconds = time.perf_counter() - started
        self.source.costs.note(_CALL, self.options.rows(len(indices)), seconds)

    def _draw(
        self,
        indices: Sequence[int],
        labels: Tensor | None,
        engine: CallEngine,
        limit: Limit,
        on_code: OnCode,
        pace: Pace | None,
    ) -> Drawn:
        stages, calls, length = len(self.prior.digits), self.options.calls, limit.length
        if pace is not None:
            rows = self.options.rows(len(indices))
            affordable = pace.steps(self.source.costs.expected(_CALL, rows) or 0.0)
            calls = max(stages, min(affordable, stages * length if calls is None else calls))
        plan = self._plan(length, calls)
        partial = self._blank(indices, labels, length)
        if pace is not None:
            pace.begin()

        def on_call(done: int, whole: int) -> bool:
            late = False
            if pace is not None:
                self._synchronise()
                # After one more call there must be time for the calls that draw all the rest.
                late = pace.stops(ahead=1 + stages) and done < plan.calls - 1
            return on_code(whole) or late

        codes, used = self._fill(engine, partial, 0, plan, on_call)
        return Drawn(codes[:, :length], torch.full((len(indices),), length), used)

    def _fill(
        self,
        engine: CallEngine,
        partial: PartialCodes,
        known: int,
        plan: Plan,
        on_call: OnCall = lambda calls, codes: False,
    ) -> tuple[Tensor, int]:
        """Codes [B, N] and the number of calls; see `draw_in_calls`."""
        with self._explained(len(partial.tokens)):
            return draw_in_calls(engine, partial, known, plan, self.options, on_call=on_call)

    def _plan(self, length: int, calls: int | None, known: int = 0) -> Plan:
        """The plan for the first `length` codes without the `known` ones. Raises UsageError for impossible `calls`."""
        losses = self.prior.losses(length)[:, known:].double().cpu().numpy()
        return make_plan(losses, calls, "linear" if self.options.plan == "linear" else "optimal")

    def _blank(self, indices: Sequence[int], labels: Tensor | None, length: int) -> PartialCodes:
        """A batch of which nothing is known yet, for drawing its first `length` positions."""
        device, need = self.device, NoiseNeed("gumbel", sum(self.prior.digits.radices))
        return PartialCodes(
            tokens=torch.zeros(len(indices), self.prior.code_length, dtype=torch.int64, device=device),
            order=sample_orders(self.options.seed, indices, length).to(device),
            noise=noise_of(self.options.seed, indices, length, need, device).whole(),
            labels=self._placed(labels),
        )

    def _tokens(self, codes: Tensor, known: int) -> Tensor:
        """Tokens [B, N] of codes of which the first `known` are known."""
        tokens = self.prior.token_of[-1][codes]
        tokens[:, known:] = 0
        return tokens

    @property
    def _kept_numbers(self) -> int:
        return self.options.rows(1) * self.prior.kept_numbers + self.prior.code_length * sum(self.prior.digits.radices)
