"""The page of an evaluation: one HTML file that needs neither network nor other files."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from jinja2 import Environment, PackageLoader, StrictUndefined

from anytime_core.evaluation.extractors import CLASSIFIER
from anytime_core.evaluation.measures import Measure, bounds_in_words, curve, measures, names, shown_metrics, weak_judge
from anytime_core.evaluation.page.charts import Bar, Line, bar_chart, brief, line_chart
from anytime_core.evaluation.page.sheets import PriorityCodes, Sheet, Shown
from anytime_core.evaluation.result import Evaluation, Row
from anytime_core.evaluation.tables import comparisons, full_table
from anytime_core.evaluation.values import facts

_TEMPLATE = "report.html"
_SMALL_PICTURE, _WIDE_PICTURE = 240, 800
"""In pixels: narrower pictures are shown enlarged, pixel by pixel; wider ones get a line of their own."""
_MOST_LABELS = 10
"""How many stops of the slider have a label: a phone has room for these."""


@dataclass(frozen=True)
class Origin:
    """How the run and its evaluation were made.

    Attributes:
        config: of the run, as YAML.
        commands: they reproduce it, in order.
        changes: of the config during training, which the commands do not repeat.
        quick: the recipe or config that this is the quick variant of; empty if it is not quick.
    """

    config: str
    commands: Sequence[str]
    changes: Sequence[str] = ()
    quick: str = ""


def render_report(
    evaluations: Sequence[Evaluation],
    shown: Sequence[Shown],
    priority: Sequence[PriorityCodes],
    origin: Origin,
    real: Sheet | None = None,
) -> str:
    """The page.

    Args:
        evaluations: of the run that the page is about, then of the others.
        shown: what each budget shows, by ascending budget.
        priority: samples by ascending number of shared codes; empty for a run without a prior.
        origin: how the run was made.
        real: validation data, shown at every budget.
    """
    environment = Environment(
        loader=PackageLoader("anytime_core.evaluation.page", ""),
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
        drawn=any(row.samples is not None for row in own.rows),
        real=_figure(real) if real is not None else None,
        stops=[_stop(one, own) for one in shown],
        labelled_every=math.ceil(len(shown) / _MOST_LABELS),
        charts=list(_quality_charts(runs)),
        code_charts=list(_code_charts(own)),
        code_facts=list(_code_facts(own)),
        priority=[_sharing(one) for one in priority],
        tables=[
            *comparisons([(run.name, run.evaluation) for run in runs]),
            full_table(runs[0].name, own, own=True),
        ],
        others=_others_in_words(evaluations),
        other_tables=[full_table(run.name, run.evaluation, own=False) for run in runs[1:]],
        config=origin.config,
        commands="\n".join(origin.commands),
        changes=origin.changes,
        quick=origin.quick,
    )


# Header


@dataclass(frozen=True)
class _Run:
    """An evaluation with its name on the page, and whether the page is about it, not another run."""

    name: str
    evaluation: Evaluation
    own: bool


def _runs(evaluations: Sequence[Evaluation]) -> list[_Run]:
    return [
        _Run(name, one, own=index == 0)
        for index, (name, one) in enumerate(zip(names(evaluations), evaluations, strict=True))
    ]


def _others_in_words(evaluations: Sequence[Evaluation]) -> str:
    """What the evaluations after the first one are of."""
    own, *others = evaluations
    runs = [one for one in others if one.run != own.run]
    if not runs:
        return "this run with other numbers of calls"
    return "the baselines" if all(one.baseline for one in runs) else "the other runs"


def _facts(own: Evaluation) -> Iterator[tuple[str, str]]:
    yield "Modality", own.modality
    if own.recipe:
        yield "Recipe", own.recipe
    yield "Code length", f"{own.code_length:,}"
    yield "Codebook size", "continuous" if own.codebook_size is None else f"{own.codebook_size:,}"
    yield from facts(own)
    if any(row.samples is not None for row in own.rows):
        yield "New samples", f"{own.num:,} a budget"
    yield "Validation samples", f"{own.reference:,}"
    if own.prefix:
        yield "Samples of fewer codes", own.prefix
    yield "Seed", str(own.seed)
    for name, value in own.sampling.items() or ([("guidance", own.guidance)] if own.guidance != 1 else ()):
        yield name.replace("_", "-").capitalize(), f"{value:g}" if isinstance(value, float) else str(value)


# Samples at each budget


@dataclass(frozen=True)
class _Picture:
    """A PNG within the page, with the size that it has on the page if there is room."""

    source: str
    width: int
    height: int
    pixelated: bool

    @property
    def wide(self) -> bool:
        return self.width > _WIDE_PICTURE


@dataclass(frozen=True)
class _Figure:
    """A sheet as the page shows it; `media` are sources and their titles."""

    caption: str
    picture: _Picture
    media: list[tuple[str, str]]
    media_type: str


@dataclass(frozen=True)
class _Stop:
    """A stop of the slider: a budget, what is shown there, and how good new samples are."""

    codes: int
    says: str
    figures: list[_Figure]
    numbers: list[tuple[str, str]]


def _stop(shown: Shown, own: Evaluation) -> _Stop:
    row = next((row for row in own.rows if row.codes == shown.codes), None)
    return _Stop(
        codes=shown.codes,
        says=f"{shown.codes} of {own.code_length} codes, budget {shown.budget:.4g}",
        figures=[_figure(sheet) for sheet in shown.sheets],
        numbers=list(_key_numbers(row, own)) if row else [],
    )


def _figure(sheet: Sheet) -> _Figure:
    titles = [f"Sample {number}" for number in range(1, len(sheet.media) + 1)]
    if sheet.labels:
        titles = [f"{title}: {label}" for title, label in zip(titles, sheet.labels, strict=True)]
    return _Figure(
        caption=sheet.caption,
        picture=_picture(sheet.picture, pixelated=not sheet.media_type),
        media=[(_data_uri(file, sheet.media_type), title) for file, title in zip(sheet.media, titles, strict=True)],
        media_type=sheet.media_type,
    )


def _key_numbers(row: Row, own: Evaluation) -> Iterator[tuple[str, str]]:
    """The numbers of a budget that are shown beside its samples."""
    weak, chance = weak_judge(own), own.chance.get("samples")
    if row.seconds_per_sample is not None:
        yield "Time per sample", _duration(row.seconds_per_sample)
    if row.samples is not None:
        for extractor, distance in list(row.samples.frechet.items())[:1]:
            yield f"Fréchet distance, {extractor}{weak if extractor == CLASSIFIER else ''}", brief(distance)
        if row.samples.label_accuracy is not None:
            by_chance = f", by chance {_percent(chance)}" if chance is not None else ""
            yield f"Label accuracy{weak}{by_chance}", _percent(row.samples.label_accuracy)
        if row.samples.coverage is not None:
            yield "Coverage of validation data", _percent(row.samples.coverage)
    for metric in shown_metrics([row])[:1]:
        yield f"Reconstruction, {metric}", brief(row.reconstruction[metric])


def _sharing(priority: PriorityCodes) -> tuple[str, _Picture]:
    """Caption and picture."""
    codes = "code" if priority.shared == 1 else f"{priority.shared} codes"
    return f"Samples of a row share their first {codes}", _picture(priority.picture, pixelated=True)


def _picture(png: bytes, pixelated: bool) -> _Picture:
    """A picture for the page; if `pixelated`, small ones are enlarged by a whole number."""
    # The header of a PNG has its width and height here.
    width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))
    scale = max(1, 2 * _SMALL_PICTURE // max(width, 1)) if pixelated and width <= _SMALL_PICTURE else 1
    return _Picture(_data_uri(png, "image/png"), scale * width, scale * height, scale > 1)


def _data_uri(content: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


# Charts


@dataclass(frozen=True)
class _Chart:
    """A drawing with its title and note."""

    title: str
    note: str
    svg: str
    dashed: bool = False


def _quality_charts(runs: Sequence[_Run]) -> Iterator[_Chart]:
    for measure in measures([run.evaluation for run in runs]):
        lines = [line for run in runs for line in _lines(measure, run)]
        if lines:
            svg = line_chart(measure.title, lines, measure.share, levels=measure.levels)
            yield _Chart(measure.title, measure.note, svg, dashed=any(line.dashed for line in lines))


def _lines(measure: Measure, run: _Run) -> Iterator[Line]:
    """The solid and the dashed line of a run, as far as it has the numbers; the first one has the label."""
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
        yield _Chart(
            title,
            f"What the prior needs for each code of validation data{bounds_in_words([own])}",
            bar_chart(title, bits),
        )
    plans = [
        Line(f"{spacing} plan", sorted(points.items()), spacing, accented=not number)
        for number, (spacing, points) in enumerate(own.bits_per_calls.items())
        if points
    ]
    if plans:
        title = "Bits per code, by network calls"
        note = "What the prior needs for all codes of validation data; fewer calls draw more codes at once"
        note += bounds_in_words([own])
        yield _Chart(title, note, line_chart(title, plans, unit="call"))


def _code_facts(own: Evaluation) -> Iterator[str]:
    if own.order_agreement is not None:
        share = _percent(own.order_agreement)
        yield f"In {share} of neighbouring steps, a code buys at least as much as the next one."
    if own.codebook_use is not None and own.codebook_size is not None:
        yield f"Validation data uses {_percent(own.codebook_use)} of the {own.codebook_size:,} codebook entries."


# Numbers


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _duration(seconds: float) -> str:
    return next(
        (f"{seconds / unit:.3g} {name}" for name, unit in (("s", 1.0), ("ms", 1e-3)) if seconds >= unit),
        f"{seconds / 1e-6:.3g} µs",
    )
