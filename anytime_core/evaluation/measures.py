"""The numbers of an evaluation that are drawn against codes, on the page and in the plot."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from anytime_core.display import listed
from anytime_core.evaluation.extractors import CLASSIFIER
from anytime_core.evaluation.metrics import LOSS
from anytime_core.evaluation.result import Evaluation, Quality, Row, ValueBits, cells
from anytime_core.evaluation.values import lowest

_LOGARITHMIC_BEYOND = 30.0  # ratio of the largest to the smallest value
_SAME_CHANCE = 0.05
_SETS = {"samples": "samples", "reconstructed": "reconstructions"}


@dataclass(frozen=True)
class Measure:
    """Numbers that are drawn against codes, by the names of their columns in `cells`.

    Attributes:
        title: of the chart.
        note: what the numbers are of, or which are better.
        column: of new samples, drawn solid; empty for none.
        reconstructed: the same of reconstructions, drawn dashed; empty for none.
        share: whether the numbers are in [0, 1].
        levels: name -> value to compare with, drawn as a thin line.
    """

    title: str
    note: str
    column: str = ""
    reconstructed: str = ""
    share: bool = False
    levels: Mapping[str, float] = field(default_factory=dict)


def measures(evaluations: Sequence[Evaluation]) -> Iterator[Measure]:
    """Yield everything worth drawing; a run may lack numbers for some of it."""
    rows = [row for one in evaluations for row in one.rows]
    own = evaluations[0]
    for metric in shown_metrics(rows):
        note = "Validation data, decoded from their first codes"
        yield Measure(f"Reconstruction: {metric}", note, reconstructed=metric)
    qualities = [quality for row in rows for quality in (row.samples, row.reconstructed) if quality is not None]
    floor = own.floor or Quality(frechet={})
    weak = weak_judge(own)
    for extractor in keys(quality.frechet for quality in qualities):
        title = f"Fréchet distance: {extractor}{weak if extractor == CLASSIFIER else ''}"
        yield _of_samples(title, "Lower is better", f"frechet {extractor}", _level(floor.frechet.get(extractor)))
    yield _of_samples(f"Label accuracy{weak}", "Higher is better", "label accuracy", _chances(own), share=True)
    weak = weak if next(iter(own.extractors), None) == CLASSIFIER else ""
    note = "How densely data lies around samples; 1 if they are alike"
    yield _of_samples(f"Density{weak}", note, "density", _level(floor.density))
    note = "Data that has samples around it; higher is better"
    yield _of_samples(f"Coverage{weak}", note, "coverage", _level(floor.coverage), share=True)
    for score in keys(quality.scores for quality in qualities):
        yield _of_samples(f"Score: {score}", "Mean over all samples", score, _level(floor.scores.get(score)))
    note = f"What the prior needs for validation data; lower is better{bounds_in_words(evaluations)}"
    if len({one.autoencoder for one in evaluations if one.bits_per_position}) > 1:
        note += ", but codes of different autoencoders do not compare"
    yield Measure("Bits per code", note, "bits per code")
    if own.data_space is not None:
        yield _of_values(own.data_space, evaluations)
    yield Measure("Seconds per sample", "Drawing and decoding; lower is better", "seconds per sample")


def _of_values(found: ValueBits, evaluations: Sequence[Evaluation]) -> Measure:
    bounded = dict.fromkeys(one.prior or "" for one in evaluations if one.bounded and one.data_space is not None)
    bounds = f"; upper bounds of {listed(list(bounded))}" if bounded else ""
    note = f"What the prior needs for the values of validation data; lower is better{bounds}"
    if len({one.data_space.floors.data for one in evaluations if one.data_space is not None}) > 1:
        note += ", but different data do not compare"
    floors = {"independent values": lowest(found.floors)}
    return Measure(found.unit.capitalize(), note, found.unit, levels=floors)


def _of_samples(title: str, note: str, column: str, levels: Mapping[str, float], share: bool = False) -> Measure:
    return Measure(title, note, f"samples {column}", f"reconstructed {column}", share, levels)


def _level(floor: float | None) -> dict[str, float]:
    return {} if floor is None else {"training data": floor}


def _chances(evaluation: Evaluation) -> dict[str, float]:
    """Label accuracy by chance; one level if it is much the same for samples and reconstructions."""
    chances = dict(evaluation.chance)
    if len(chances) == 2 and math.isclose(*chances.values(), abs_tol=_SAME_CHANCE):
        return {"chance": chances["samples"]}
    return {f"chance, {_SETS[name]}" if len(chances) > 1 else "chance": share for name, share in chances.items()}


def bounds_in_words(evaluations: Sequence[Evaluation]) -> str:
    """That bits of order-agnostic priors are bounds, if there are any; it follows other words."""
    kinds = dict.fromkeys(one.prior or "order-agnostic priors" for one in evaluations if one.bits_per_calls)
    return f"; upper bounds of {', '.join(kinds)}, estimated from random orders" if kinds else ""


def weak_judge(evaluation: Evaluation) -> str:
    """What is written beside numbers of a weak classifier; empty if it is not weak."""
    return " (weak judge)" if evaluation.judge is not None and evaluation.judge.weakness else ""


def shown_metrics(rows: Sequence[Row]) -> list[str]:
    """Measures of reconstruction; the loss, mostly one of the metrics, only if there is no other."""
    found = keys(row.reconstruction for row in rows)
    return [name for name in found if name != LOSS] or found


def curve(evaluation: Evaluation, column: str) -> list[tuple[int, float]]:
    """Number of codes and value, if there is one."""
    values = ((row.codes, dict(cells(row)).get(column)) for row in evaluation.rows)
    return [(codes, value) for codes, value in values if value is not None and math.isfinite(value)]


def need_logarithms(values: Sequence[float]) -> bool:
    """Whether values are positive and too far apart for a linear scale."""
    return 0 < min(values) * _LOGARITHMIC_BEYOND < max(values)


def keys(mappings: Iterable[dict[str, float]]) -> list[str]:
    """Keys of all mappings, each once, in order."""
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def names(evaluations: Sequence[Evaluation]) -> list[str]:
    """Names of evaluations: the run by its folder, baselines by their kind, and by folder too if several are the same.

    If there are several kinds of priors, or calls are limited, that is part of the name.
    """
    kinds = Counter((one.baseline, one.calls) for one in evaluations[1:])
    bases = [
        one.baseline
        if index and one.baseline and kinds[one.baseline, one.calls] == 1 and one.run != evaluations[0].run
        else PurePath(one.run).name
        for index, one in enumerate(evaluations)
    ]
    several = len({one.prior for one in evaluations if one.prior is not None}) > 1
    return [
        base
        + (f" ({one.prior})" if several and one.prior is not None and one.prior not in base else "")
        + (f", {one.calls} call{'s' * (one.calls != 1)}" if one.calls is not None else "")
        for base, one in zip(bases, evaluations, strict=True)
    ]
