"""Seconds of samples: all ways to draw take turns, by their engines for the CPU and by the plain one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial

from anytime_core.budget import Budget
from anytime_core.run import Run
from anytime_core.sampling.options import SamplingOptions
from benchmarks.priors.contenders import Way
from benchmarks.priors.findings import PLAIN, Timing
from benchmarks.report import median_seconds

_FAST = ("eager", "numba")
"""Engines of which `auto` takes one on the CPU: the second where its kernels are compiled, or worth compiling."""
_REPEATS = 5
_LIMIT = 60.0
"""Seconds after which the measurements of a batch begin no further turn."""


def timed(
    ways: Sequence[Way],
    runs: Mapping[str, Run],
    batches: Sequence[int],
    codes: Sequence[int],
    drawn: int,
    known: Collection[Timing],
) -> Iterator[list[Timing]]:
    """Yield what a batch takes in every way, batch by batch, what is known left out.

    Args:
        ways: to draw.
        runs: contender -> its run.
        batches: how many samples at a time.
        codes: of a sample; all batches are measured at the largest.
        drawn: the batch that fast engines draw at the other numbers of codes too, and the largest of the plain one.
        known: what was measured before.
    """
    there = {(one.way, one.engine, one.batch, one.codes) for one in known}
    for batch in batches:
        measured: list[tuple[Sequence[str], Sequence[int]]] = [(_FAST, codes if batch == drawn else codes[-1:])]
        if batch <= drawn:  # larger ones take it minutes
            measured.append(((PLAIN,), codes[-1:]))
        for engines, lengths in measured:
            wanted = [
                (way, engine, length)
                for way in ways
                for engine in engines
                for length in lengths
                if engine in runs[way.contender].require_prior().engines()
                and (way.name, engine, batch, length) not in there
            ]
            calls = [partial(_draw, runs[way.contender], way, engine, batch, length) for way, engine, length in wanted]
            taken = median_seconds(calls, repeats=_REPEATS, warmup=1, limit=_LIMIT) if calls else []
            yield [
                Timing(way=way.name, engine=engine, batch=batch, codes=length, seconds=seconds)
                for (way, engine, length), seconds in zip(wanted, taken, strict=True)
            ]


def _draw(run: Run, way: Way, engine: str, batch: int, codes: int) -> None:
    """One batch of samples, drawn and decoded."""
    calls = None if way.calls is None else min(way.calls, codes)
    options = SamplingOptions(engine=engine, batch_size=batch, calls=calls)
    for _ in run.sample_batches(range(batch), Budget(codes, "codes"), options):
        pass
