"""How fast codes are drawn by `auto` in bfloat16, against peers, and what noise and capturing take.

B is the number of samples of a batch, N the code length.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from anytime_core.run import Run, load
from anytime_core.sampling.noise import noise_of
from anytime_core.sampling.options import SamplingOptions
from benchmarks import contenders
from benchmarks.gpu import runs
from benchmarks.gpu.measures import Goal, Measure, shown
from benchmarks.gpu.setting import Item, Setting
from benchmarks.report import median_seconds

_GROUPED, _LARGE = 2, 4096
_PEERS_AT = (512, 64, 1)
_BEFORE = {1: 0.507, 64: 0.435, 512: 0.442}
"""Batch -> seconds of the best peer on one H100 with torch 2.11, in bfloat16."""


def items(setting: Setting) -> Sequence[Item]:
    """Batches with all key-value heads, then with two, each beside the peers."""
    first = [batch for batch in setting.batches if batch <= _LARGE]
    rest = [batch for batch in setting.batches if batch > _LARGE]
    peers = [batch for batch in setting.batches if batch in _PEERS_AT]
    return [
        *(_cell(setting, batch, None) for batch in first),
        Item("time of 25 % of the codes over all, batch 512", 5, partial(_quarter, setting)),
        *(Item(f"peers, batch {batch}", 8, partial(_peers, setting, batch, None)) for batch in peers),
        *(_cell(setting, batch, _GROUPED) for batch in first[::-1]),
        *(_cell(setting, batch, None) for batch in rest),
        Item("float32, batch 512", 5, partial(_float32, setting)),
        Item("noise, batch 512", 3, partial(_noise, setting)),
        *(_cell(setting, batch, _GROUPED) for batch in rest),
        *(
            Item(f"peers, batch {batch}, 2 key-value heads", 8, partial(_peers, setting, batch, _GROUPED))
            for batch in peers
        ),
    ]


def _cell(setting: Setting, batch: int, kv_heads: int | None) -> Item:
    seconds = 6 + batch / 1000
    return Item(_name(batch, kv_heads), seconds, partial(_drawn, setting, batch, kv_heads))


def _name(batch: int, kv_heads: int | None) -> str:
    return f"codes, batch {batch}" if kv_heads is None else f"codes, {kv_heads} key-value heads, batch {batch}"


def _opened(setting: Setting, kv_heads: int | None = None) -> Run:
    folder: Path = runs.of_codes(setting, setting.sizes(kv_heads))
    return load(folder, device=setting.device)


def _seconds(run: Run, batch: int, budget: float = 1.0, precision: str = "bfloat16") -> float:
    """What drawing the codes of `batch` samples takes, with their noise and their way to the CPU; not decoding."""
    options = SamplingOptions(batch_size=batch, precision=precision)
    return sum(samples.seconds["codes"] for samples in run.sample_batches(range(batch), budget, options))


def _engine(run: Run, batch: int) -> str:
    prior = run.require_prior()
    work = prior.multiply_adds * batch * prior.code_length
    return prior.fastest_engine("bfloat16", batch, work)


def _drawn(setting: Setting, batch: int, kv_heads: int | None) -> Iterator[Measure]:
    run = _opened(setting, kv_heads)
    first = _seconds(run, batch)
    taken = statistics.median(setting.repeated(lambda: _seconds(run, batch)))
    name = _name(batch, kv_heads)
    note = f"{taken:.4g} s; the first batch took {first:.3g} s"
    yield Measure(name, batch / taken, "samples/s", note=note)
    if batch == max(set(setting.batches) & {64, 512}) and kv_heads is None:
        yield Measure(
            f"capturing, batch {batch}", max(0.0, first - taken), "s", note="the first batch less a later one"
        )
    engine = _engine(run, batch)
    if engine != "graph" and not setting.tiny:
        yield Measure(f"{name}: auto is graph", 0, goal=Goal(1), note=f"it is {engine}")


def _quarter(setting: Setting) -> Iterator[Measure]:
    run = _opened(setting)
    batch = 64 if setting.tiny else 512
    taken = []
    for budget in (0.25, 1.0):
        _seconds(run, batch, budget)
        taken.append(statistics.median(setting.repeated(lambda budget=budget: _seconds(run, batch, budget))))
    yield Measure("time of 25 % of the codes over all, batch 512", taken[0] / taken[1], note=f"batch {batch}")


def _float32(setting: Setting) -> Iterator[Measure]:
    run = _opened(setting)
    batch = 64 if setting.tiny else 512
    _seconds(run, batch, precision="float32")
    taken = statistics.median(setting.repeated(lambda: _seconds(run, batch, precision="float32")))
    yield Measure(f"codes in float32, batch {batch}", batch / taken, "samples/s", note=f"{taken:.4g} s")


def _noise(setting: Setting) -> Iterator[Measure]:
    """Noise that is made beforehand, as it is where the draw does not make it itself."""
    prior = _opened(setting).require_prior()
    batch = 64 if setting.tiny else 512
    need, length = prior.distribution.noise, prior.code_length

    def make() -> object:
        return noise_of(0, range(batch), length, need, prior.device).whole()

    (seconds,) = median_seconds([make], repeats=5, warmup=1, limit=10)
    yield Measure(f"noise of all codes, batch {batch}", seconds * 1e3, "ms")


def _peers(setting: Setting, batch: int, kv_heads: int | None) -> Iterator[Measure]:
    sizes, taken = setting.sizes(kv_heads), {}
    suffix = "" if kv_heads is None else f", {kv_heads} key-value heads"
    for peer in ("transformers", "x-transformers"):
        name = f"{peer}, batch {batch}{suffix}"
        try:
            contender = contenders.make(peer, "bfloat16", sizes)
        except ImportError as error:
            yield Measure.skipped(name, f"{error}: install the extra bench")
            continue
        (taken[peer],) = median_seconds([partial(contender.run, batch, sizes.length)], repeats=3, warmup=1, limit=6)
        yield Measure(name, batch / taken[peer], "samples/s", note=f"{taken[peer]:.4g} s")
    ours = setting.found.get(_name(batch, kv_heads))
    name = f"against the best peer, batch {batch}{suffix}"
    if ours is None:
        yield Measure.skipped(name, "there is no rate of ours")
    elif taken:
        best = min(taken, key=taken.__getitem__)
        yield Measure(name, ours / (batch / taken[best]), "x", note=f"{best}, {shown(batch / taken[best])} samples/s")
    elif kv_heads is None and not setting.tiny:
        note = f"no peer is installed; against {_BEFORE[batch]} s that the best one took on an H100 with torch 2.11"
        yield Measure(name, ours / (batch / _BEFORE[batch]), "x", note=note)
