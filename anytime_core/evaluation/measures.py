"""Which numbers of an evaluation are drawn against codes, in the page and in the plot."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from anytime_core.evaluation.result import Evaluation, Row, cells

_LOGARITHMIC_BEYOND = 30.0  # largest over smallest value


@dataclass(frozen=True)
class Measure:
    """Numbers that are drawn against codes, by the names of their columns in `cells`.

    Attributes:
        title: of the chart.
        note: what the numbers are of, or which are better.
        column: drawn solid.
        reconstructed: the same of reconstructions rather than new samples, drawn dashed; empty for none.
        share: numbers are in [0, 1].
    """

    title: str
    note: str
    column: str
    reconstructed: str = ""
    share: bool = False


def measures(rows: Sequence[Row]) -> Iterator[Measure]:
    """All that is worth drawing of some rows; a run may have no numbers for some of it."""
    metrics = keys(row.reconstruction for row in rows)
    for metric in [metric for metric in metrics if metric != "loss"] or metrics:  # the loss is mostly one of them
        yield Measure(f"Reconstruction: {metric}", "Validation data, decoded from their first codes", metric)
    qualities = [quality for row in rows for quality in (row.samples, row.reconstructed) if quality is not None]
    for extractor in keys(quality.frechet for quality in qualities):
        yield _of_samples(f"Fréchet distance: {extractor}", "Lower is better", f"frechet {extractor}")
    yield _of_samples("Label accuracy", "Higher is better", "label accuracy", share=True)
    yield _of_samples("Precision", "Samples that look like data; higher is better", "precision", share=True)
    yield _of_samples("Recall", "Data that samples cover; higher is better", "recall", share=True)
    for score in keys(quality.scores for quality in qualities):
        yield _of_samples(f"Score: {score}", "Mean over all samples", score)
    yield Measure("Bits per code", "What the prior needs for validation data; lower is better", "bits per code")
    yield Measure("Seconds per sample", "Drawing and decoding; lower is better", "seconds per sample")


def _of_samples(title: str, note: str, column: str, share: bool = False) -> Measure:
    return Measure(title, note, f"samples {column}", f"reconstructed {column}", share)


def curve(evaluation: Evaluation, column: str) -> list[tuple[int, float]]:
    """Number of codes and value, where there is one."""
    values = ((row.codes, dict(cells(row)).get(column)) for row in evaluation.rows)
    return [(codes, value) for codes, value in values if value is not None and math.isfinite(value)]


def need_logarithms(values: Sequence[float]) -> bool:
    """Whether values are positive and too far apart for a linear scale."""
    return 0 < min(values) * _LOGARITHMIC_BEYOND < max(values)


def keys(mappings: Iterable[dict[str, float]]) -> list[str]:
    """Keys of all mappings, each once, in order."""
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))


def names(evaluations: Sequence[Evaluation]) -> list[str]:
    """The run by its folder, baselines by what they are, or by their folders too where several are the same.

    Where calls are limited, their number is part of the name.
    """
    kinds = Counter((one.baseline, one.calls) for one in evaluations[1:])
    bases = [
        one.baseline
        if index and one.baseline and kinds[one.baseline, one.calls] == 1 and one.run != evaluations[0].run
        else PurePath(one.run).name
        for index, one in enumerate(evaluations)
    ]
    return [
        base if one.calls is None else f"{base}, {one.calls} call{'s' * (one.calls != 1)}"
        for base, one in zip(bases, evaluations, strict=True)
    ]
