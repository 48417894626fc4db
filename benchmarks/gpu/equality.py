"""Whether every engine draws in float32 what the plain one draws, in every way of drawing; and how far bfloat16 is off.

B is the number of samples, N the code length.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anytime_core.errors import UsageError
from anytime_core.priors.registry import PRIORS
from anytime_core.run import Run, load
from benchmarks.gpu import runs
from benchmarks.gpu.measures import Goal, Measure
from benchmarks.gpu.setting import Item, Setting

_BATCH = 40
_SECONDS = {"graph": 8.0, "eager": 8.0, "compile": 40.0}
"""Engine -> about how long its ways take; the slow one is last, as are those that only run on the CPU."""
_ORDER_AGNOSTIC = ("prior.kind=ardm", "prior.layers=3", "prior.width=96", "prior.heads=4", "prior.label_dropout=0.1")
_SHARP = 0.5
"""The temperature: what was drawn before, and labels, then decide more than noise does."""
_EQUAL = Goal(0, less=True)
_ROUGH = Goal(0.1, less=True)


def _sampled(run: Run, *, num: int = _BATCH, budget: float | str = 1.0, **options: Any) -> Tensor:
    return run.sample(num, budget, **{"temperature": _SHARP, **options}).codes


def _streamed(run: Run, **options: Any) -> Tensor:
    *prefixes, last = [prefix.codes for prefix in run.stream(_BATCH, temperature=_SHARP, **options)]
    for codes in prefixes:
        if not torch.equal(codes, last[:, : codes.shape[1]]):
            raise RuntimeError(f"the {codes.shape[1]} codes that came first are not the first ones of all")
    return last


def _completed(run: Run, *, leading: bool, **options: Any) -> Tensor:
    """Codes that follow known ones: the first half of each sample, or any of them."""
    length = run.drawn_length
    known = torch.arange(length) < length // 2 if leading else torch.arange(length) % 3 == 0
    codes = _sampled(run, engine="plain", seed=5)
    return run.complete(codes, known.expand(len(codes), -1), label=0, temperature=_SHARP, **options).codes


CAUSAL: dict[str, Callable[..., Tensor]] = {
    "each class in turn": _sampled,
    "the same again": _sampled,
    "another seed and class": partial(_sampled, seed=1, label="index:3"),
    "a batch of another size": partial(_sampled, num=_BATCH + 7),
    "a quarter of the codes": partial(_sampled, budget=0.25),
    "temperature, top-k and top-p": partial(_sampled, temperature=0.7, top_k=9, top_p=0.9),
    "the most likely codes": partial(_sampled, temperature=0.0),
    "guidance": partial(_sampled, guidance=2.0),
    "adaptive budget": partial(_sampled, budget="adaptive"),
    "completion": partial(_completed, leading=True),
    "stream": _streamed,
    "several batches": partial(_sampled, batch_size=16),
}
ANY_ORDER: dict[str, Callable[..., Tensor]] = {
    "a call a code": _sampled,
    "the same again": partial(_sampled, calls=5),
    "few calls": partial(_sampled, calls=5),
    "another seed and class": partial(_sampled, seed=1, label="index:3", calls=5),
    "the most certain first": partial(_sampled, calls=5, plan="certain"),
    "a quarter of the codes": partial(_sampled, budget=0.25, calls=2),
    "temperature, top-k and top-p": partial(_sampled, temperature=0.7, top_k=9, top_p=0.9, calls=5),
    "guidance": partial(_sampled, guidance=2.0, calls=5),
    "completion": partial(_completed, leading=False, calls=5),
    "stream": _streamed,
}
"""What is drawn -> how, given the run and an engine."""


def items(setting: Setting) -> Sequence[Item]:
    """One item for each kind of run and engine, the most important engine first."""
    kinds: dict[str, Callable[[], Path]] = {
        "transformer": lambda: runs.small(setting),
        "order-agnostic": lambda: runs.with_prior(setting, runs.small(setting), "ardm", *_ORDER_AGNOSTIC),
        "transformer, 2 key-value heads": lambda: runs.with_prior(
            setting, runs.small(setting), "grouped", "prior.kv_heads=2"
        ),
        "transformer, code vectors of each position": lambda: runs.small(setting, "autoencoder.quantizer.shared=false"),
    }
    compared = [
        (engine, Item(_name(kind, engine), _SECONDS.get(engine, 3.0), partial(_compared, setting, kind, make, engine)))
        for kind, make in kinds.items()
        for engine in PRIORS["ardm" if kind == "order-agnostic" else "transformer"].engines()
        if engine != "plain"
    ]
    graphs, eager = ([item for engine, item in compared if engine == name] for name in ("graph", "eager"))
    others = sorted(
        (item for engine, item in compared if engine not in ("graph", "eager")), key=lambda item: item.seconds
    )
    large = [
        Item(f"large batches, {heads or 'all'} key-value heads", 15, partial(_large, setting, heads))
        for heads in (None, 2)
    ]
    return [*graphs, *large, Item("bfloat16", 5, partial(_rough, setting)), *eager, *others]


def _name(kind: str, engine: str) -> str:
    return f"{kind}, {engine}: kinds of sampling whose codes differ from those of plain"


def _compared(setting: Setting, kind: str, make: Callable[[], Path], engine: str) -> Iterator[Measure]:
    """In how many ways of drawing an engine's codes are not those of the plain one."""
    run = load(make(), device=setting.device)
    ways = ANY_ORDER if kind == "order-agnostic" else CAUSAL
    name, wrong, tried = _name(kind, engine), [], 0
    for way, draw in ways.items():
        try:
            expected = _expected(run.folder, setting.device, way, draw)
            codes = draw(run, engine=engine)
        except UsageError as error:
            if tried:
                wrong.append(f"{way}: {error}")
                continue
            yield Measure.skipped(name, str(error))
            return
        except Exception as error:
            wrong.append(f"{way}: {type(error).__name__}: {str(error).strip().splitlines()[-1:]}")
            if setting.device != "cpu":
                torch.cuda.synchronize()  # which raises if no later way can work
            continue
        finally:
            tried += 1
        if not torch.equal(codes, expected):
            wrong.append(f"{way}: {_differing(codes, expected)}")
    yield Measure(name, len(wrong), f"of {len(ways)}", _EQUAL, note="; ".join(wrong))


@functools.cache
def _expected(folder: Path, device: str, way: str, draw: Callable[..., Tensor]) -> Tensor:
    return draw(load(folder, device=device), engine="plain")


def _differing(codes: Tensor, expected: Tensor) -> str:
    if codes.shape != expected.shape:
        return f"shape {list(codes.shape)} instead of {list(expected.shape)}"
    rows = (codes != expected).any(1)
    return f"{int(rows.sum())} of {len(rows)} samples"


def _large(setting: Setting, kv_heads: int | None) -> Iterator[Measure]:
    """The prior whose speed is measured, of the same shapes; at this temperature its flat logits matter."""
    run = load(runs.of_codes(setting, setting.sizes(kv_heads)), device=setting.device)
    batch = 16 if setting.tiny else 256
    common: dict[str, Any] = {"num": batch, "batch_size": batch, "temperature": 0.1}
    expected = _sampled(run, engine="plain", **common)
    codes = _sampled(run, **common)
    name = f"samples of {batch} that auto draws otherwise than plain, {kv_heads or 'all'} key-value heads"
    # One code in a million may come out otherwise, as sums round differently.
    yield Measure(name, float((codes != expected).any(1).sum()), "samples", Goal(1, less=True))


def _rough(setting: Setting) -> Iterator[Measure]:
    """How many codes bfloat16 draws otherwise after the same codes, at the first position, in the middle and last."""
    run = load(runs.small(setting), device=setting.device)
    expected, length = _sampled(run, engine="plain"), run.drawn_length
    for position in (0, length // 2, length - 1):
        known = (torch.arange(length) < position).expand(len(expected), -1)
        labels = [index % len(run.classes) for index in range(len(expected))]
        drawn = run.complete(expected, known, label=labels, temperature=_SHARP, precision="bfloat16").codes
        share = float((drawn[:, position] != expected[:, position]).float().mean())
        yield Measure(f"share of codes at position {position} that bfloat16 draws otherwise", share, "", _ROUGH)
