"""The page of an evaluation: one HTML file that needs nothing else, neither network nor other files."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from jinja2 import Environment, PackageLoader, StrictUndefined

from anytime_core.evaluation.charts import Bar, Line, bar_chart, brief, line_chart
from anytime_core.evaluation.measures import Measure, curve, keys, measures, names
from anytime_core.evaluation.result import Evaluation, Row, cells

_TEMPLATE = "report.html"
_SMALL_PICTURE, _WIDE_PICTURE = 240, 800
"""Pixels: narrower pictures are shown enlarged, pixel by pixel; wider ones get a line of their own."""


@dataclass(frozen=True)
class Shown:
    """What the page shows of the same samples at one budget.

    Attributes:
        budget: share of the codes.
        codes: number of them.
        picture: a PNG of all samples, for sounds their spectrograms.
        media: the first samples as files of type `media_type`, empty where the picture says it all.
        media_type: such as `audio/wav`.
        labels: what each of `media` is meant to be, empty where the data has no labels.
    """

    budget: float
    codes: int
    picture: bytes
    media: tuple[bytes, ...] = ()
    media_type: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class PriorityCodes:
    """Samples that share their first codes; each row of the picture shares others.

    Attributes:
        shared: number of codes that those of a row share.
        picture: a PNG.
    """

    shared: int
    picture: bytes


def render_report(
    evaluations: Sequence[Evaluation],
    shown: Sequence[Shown],
    priority: Sequence[PriorityCodes],
    config: str,
    commands: Sequence[str],
) -> str:
    """The page.

    Args:
        evaluations: of the run that it is about, then of its baselines.
        shown: by ascending budget; empty for a run without a prior.
        priority: by ascending number of shared codes.
        config: of the run, YAML.
        commands: that reproduce it, in order.
    """
    environment = Environment(
        loader=PackageLoader("anytime_core.evaluation", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    runs = _runs(evaluations)
    own = evaluations[0]
    return environment.get_template(_TEMPLATE).render(
        name=runs[0].name,
        evaluation=own,
        facts=list(_facts(own)),
        stops=[_stop(one, own) for one in shown],
        charts=list(_quality_charts(runs)),
        code_charts=list(_code_charts(own)),
        code_facts=list(_code_facts(own)),
        priority=[_sharing(one) for one in priority],
        tables=[*_comparisons(runs), _full_table(runs[0])],
        baseline_tables=[_full_table(run) for run in runs[1:]],
        config=config,
        commands="\n".join(commands),
    )


# Header


@dataclass(frozen=True)
class _Run:
    """An evaluation with what it is called on the page, and whether the page is about it rather than a baseline."""

    name: str
    evaluation: Evaluation
    own: bool


def _runs(evaluations: Sequence[Evaluation]) -> list[_Run]:
    return [
        _Run(name, one, own=index == 0)
        for index, (name, one) in enumerate(zip(names(evaluations), evaluations, strict=True))
    ]


def _facts(own: Evaluation) -> Iterator[tuple[str, str]]:
    yield "Modality", own.modality
    if own.recipe:
        yield "Recipe", own.recipe
    yield "Code length", f"{own.code_length:,}"
    yield "Codebook size", "continuous" if own.codebook_size is None else f"{own.codebook_size:,}"
    if any(row.samples is not None for row in own.rows):
        yield "New samples", f"{own.num:,} a budget"
    yield "Validation samples", f"{own.reference:,}"
    yield "Seed", str(own.seed)
    if own.guidance != 1:
        yield "Guidance", f"{own.guidance:g}"


# Samples at each budget


@dataclass(frozen=True)
class _Picture:
    """A PNG within the page, with the size that it is shown at if there is room."""

    source: str
    width: int
    height: int
    pixelated: bool

    @property
    def wide(self) -> bool:
        return self.width > _WIDE_PICTURE


@dataclass(frozen=True)
class _Stop:
    """A stop of the slider: a budget, its samples and how good they are."""

    codes: int
    says: str
    picture: _Picture
    media: list[tuple[str, str]]
    media_type: str
    numbers: list[tuple[str, str]]


def _stop(shown: Shown, own: Evaluation) -> _Stop:
    row = next((row for row in own.rows if row.codes == shown.codes), None)
    sources = [_data_uri(content, shown.media_type) for content in shown.media]
    titles = [f"Sample {number}" for number in range(1, len(sources) + 1)]
    if shown.labels:
        titles = [f"{title}: {label}" for title, label in zip(titles, shown.labels, strict=True)]
    return _Stop(
        codes=shown.codes,
        says=f"{shown.codes} of {own.code_length} codes, budget {shown.budget:.4g}",
        picture=_picture(shown.picture, pixelated=not shown.media_type),
        media=list(zip(sources, titles, strict=True)),
        media_type=shown.media_type,
        numbers=list(_key_numbers(row)) if row else [],
    )


def _key_numbers(row: Row) -> Iterator[tuple[str, str]]:
    if row.seconds_per_sample is not None:
        yield "Time per sample", _duration(row.seconds_per_sample)
    if row.samples is not None:
        for extractor, distance in list(row.samples.frechet.items())[:1]:
            yield f"Fréchet distance, {extractor}", brief(distance)
        shares = {
            "Label accuracy": row.samples.label_accuracy,
            "Precision": row.samples.precision,
            "Recall": row.samples.recall,
        }
        yield from ((title, _percent(share)) for title, share in shares.items() if share is not None)
    for metric, value in list(row.reconstruction.items())[:1]:
        yield f"Reconstruction, {metric}", brief(value)


def _sharing(priority: PriorityCodes) -> tuple[str, _Picture]:
    """Caption and picture."""
    codes = "code" if priority.shared == 1 else f"{priority.shared} codes"
    return f"Samples of a row share their first {codes}", _picture(priority.picture, pixelated=True)


def _picture(png: bytes, pixelated: bool) -> _Picture:
    """A picture for the page; small ones with `pixelated` are enlarged by a whole number."""
    # The header of a PNG has width and height at these places.
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))
    scale = max(1, 2 * _SMALL_PICTURE // max(width, 1)) if pixelated and width <= _SMALL_PICTURE else 1
    return _Picture(_data_uri(png, "image/png"), scale * width, scale * height, scale > 1)


def _data_uri(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


# Charts


@dataclass(frozen=True)
class _Chart:
    """A drawing with what is written above it."""

    title: str
    note: str
    svg: str
    dashed: bool = False


def _quality_charts(runs: Sequence[_Run]) -> Iterator[_Chart]:
    for measure in measures([row for run in runs for row in run.evaluation.rows]):
        lines = [line for run in runs for line in _lines(measure, run)]
        if lines:
            svg = line_chart(measure.title, lines, measure.share)
            yield _Chart(measure.title, measure.note, svg, dashed=any(line.dashed for line in lines))


def _lines(measure: Measure, run: _Run) -> Iterator[Line]:
    """The solid and the dashed line of a run, as far as it has the numbers; a label is at the first of them."""
    solid, dashed = (curve(run.evaluation, column) for column in (measure.column, measure.reconstructed))
    if solid:
        yield Line(f"{run.name}, samples" if measure.reconstructed else run.name, solid, run.name, run.own)
    if dashed:
        yield Line(f"{run.name}, reconstructions", dashed, "" if solid else run.name, run.own, dashed=True)


def _code_charts(own: Evaluation) -> Iterator[_Chart]:
    losses = sorted((codes, loss) for codes, loss in own.gains.items() if math.isfinite(loss))
    gains = [Bar(fewer, more, (before - after) / (more - fewer)) for (fewer, before), (more, after) in pairwise(losses)]
    if gains:
        title = "Marginal gain per code"
        yield _Chart(title, "How much lower the reconstruction loss is with each further code", bar_chart(title, gains))
    bits = [Bar(position, position + 1, value) for position, value in enumerate(own.bits_per_position)]
    if bits:
        title = "Bits per code, by position"
        yield _Chart(title, "What the prior needs for each code of validation data", bar_chart(title, bits))
    plans = [
        Line(f"{spacing} plan", sorted(points.items()), spacing, accented=not number)
        for number, (spacing, points) in enumerate(own.bits_per_calls.items())
        if points
    ]
    if plans:
        title = "Bits per code, by network calls"
        note = "What the prior needs for all codes of validation data; fewer calls draw more codes at once"
        yield _Chart(title, note, line_chart(title, plans, unit="call"))


def _code_facts(own: Evaluation) -> Iterator[str]:
    if own.order_agreement is not None:
        share = _percent(own.order_agreement)
        yield f"In {share} of neighbouring steps, a code buys at least as much as the next one."
    if own.codebook_use is not None and own.codebook_size is not None:
        yield f"Validation data uses {_percent(own.codebook_use)} of the {own.codebook_size:,} codebook entries."


# Tables


@dataclass(frozen=True)
class _Table:
    """Formatted numbers, a row for each budget.

    Attributes:
        caption: what is in it.
        columns: titles, that of the codes first.
        rows: number of codes -> cells.
        own: whether it is about the run rather than a baseline.
    """

    caption: str
    columns: list[str]
    rows: dict[int, list[str]]
    own: bool = True


def _comparisons(runs: Sequence[_Run]) -> Iterator[_Table]:
    """The run beside its baselines: the first metric of reconstructions and the first Fréchet distance."""
    own, *baselines = runs
    rows = own.evaluation.rows
    titles = {metric: f"Reconstruction, {metric}" for metric in keys(row.reconstruction for row in rows)[:1]}
    for extractor in keys(row.samples.frechet for row in rows if row.samples is not None)[:1]:
        titles[f"samples frechet {extractor}"] = f"Fréchet distance of samples, {extractor}"
    for column, title in titles.items():
        others = {run.name: points for run in baselines if (points := dict(curve(run.evaluation, column)))}
        if others:
            headings = [heading for other in others for heading in (other, f"{own.name} / {other}")]
            compared = {
                codes: _compared(value, [points.get(codes) for points in others.values()])
                for codes, value in curve(own.evaluation, column)
            }
            yield _Table(title, ["codes", own.name, *headings], compared)


def _compared(value: float, others: Sequence[float | None]) -> list[str]:
    """A value, then each other one with the ratio of the two; empty where there is none."""
    ratios = [f"{value / other:.3f}" if other else "" for other in others]
    return [brief(value), *(cell for pair in zip(map(_cell, others), ratios, strict=True) for cell in pair)]


def _full_table(run: _Run) -> _Table:
    """All that is known of a run; columns without any number are left out."""
    rows = {row.codes: dict(cells(row)) for row in run.evaluation.rows}
    filled = dict.fromkeys(name for row in rows.values() for name, value in row.items() if value is not None)
    columns = [name for name in filled if name != "codes"]
    formatted = {codes: [_cell(row.get(name), name) for name in columns] for codes, row in rows.items()}
    return _Table(f"All numbers of {run.name}", ["codes", *columns], formatted, run.own)


# Words and numbers


def _cell(value: float | None, column: str = "") -> str:
    if value is None:
        return ""
    return f"{value / 2**20:,.0f} MiB" if column == "peak memory" else brief(value)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _duration(seconds: float) -> str:
    return next(
        (f"{seconds / unit:.3g} {name}" for name, unit in (("s", 1.0), ("ms", 1e-3)) if seconds >= unit),
        f"{seconds / 1e-6:.3g} µs",
    )
