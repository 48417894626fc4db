"""Seconds a sample: all ways to draw take turns, by the engine that `auto` is and by the plain one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial

from anytime_core.budget import Budget
from anytime_core.run import Run
from anytime_core.sampling.options import SamplingOptions
from benchmarks.priors.contenders import Way
from benchmarks.priors.findings import Seconds
from benchmarks.report import median_seconds

_REPEATS = 5
_LIMIT = 150.0
"""Seconds after which the measurements of a batch begin no further turn."""
_AUTO, _PLAIN = "auto", "plain"


def timed(
    ways: Sequence[Way],
    runs: Mapping[str, Run],
    batches: Sequence[int],
    codes: Sequence[int],
    known: Collection[Seconds],
) -> Iterator[list[Seconds]]:
    """Yield what a batch takes in every way, batch by batch, those left out that are known.

    Each batch is measured at every number of `codes` by `auto`, and at the largest by `plain`.
    """
    there = {(one.way, one.engine, one.batch, one.codes) for one in known}
    for batch in batches:
        for engine, lengths in ((_AUTO, codes), (_PLAIN, codes[-1:])):
            wanted = [
                (way, length)
                for way in ways
                for length in lengths
                if (way.name, engine, batch, length) not in there and _has(runs[way.contender], engine)
            ]
            if wanted:
                calls = [partial(_draw, runs[way.contender], way, engine, batch, length) for way, length in wanted]
                taken = median_seconds(calls, repeats=_REPEATS, warmup=1, limit=_LIMIT)
                yield [
                    Seconds(
                        way=way.name,
                        engine=engine,
                        chosen=_chosen(runs[way.contender], engine, batch, length),
                        batch=batch,
                        codes=length,
                        seconds=seconds,
                    )
                    for (way, length), seconds in zip(wanted, taken, strict=True)
                ]


def _draw(run: Run, way: Way, engine: str, batch: int, codes: int) -> None:
    """One batch of samples, drawn and decoded."""
    calls = None if way.calls is None else min(way.calls, codes)
    options = SamplingOptions(engine=engine, batch_size=batch, calls=calls)
    for _ in run.sample_batches(range(batch), Budget(codes, "codes"), options):
        pass


def _has(run: Run, engine: str) -> bool:
    return engine == _AUTO or engine in run.require_prior().engines()


def _chosen(run: Run, engine: str, batch: int, codes: int) -> str:
    prior = run.require_prior()
    return prior.fastest_engine("float32", batch, prior.multiply_adds * batch * codes) if engine == _AUTO else engine
