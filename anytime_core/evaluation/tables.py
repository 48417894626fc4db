"""The numbers of evaluations as tables: the one that `anytime evaluate` prints, and those of the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from anytime_core.data_space import NATS
from anytime_core.display import listed
from anytime_core.evaluation.extractors import CLASSIFIER
from anytime_core.evaluation.measures import curve, keys, shown_metrics, weak_judge
from anytime_core.evaluation.metrics import LOSS
from anytime_core.evaluation.page.charts import brief
from anytime_core.evaluation.result import Evaluation, Row, cells
from anytime_core.evaluation.values import in_words
from anytime_core.evaluation.versus import same_codes, same_values

_BITS = "bits per code"
_LOWER, _HIGHER = "↓", "↑"


# What `anytime evaluate` prints


def printed_table(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """Titles and rows of the numbers that matter most, `samples / reconstructions` if there are both."""
    lines = [_printed(row, evaluation) for row in evaluation.rows]
    titles = list(dict.fromkeys(title for line in lines for title in line))
    return titles, [[line.get(title, "") for title in titles] for line in lines]


def legend(evaluation: Evaluation) -> list[str]:
    """A legend of the printed table, in lines."""
    rows = evaluation.rows
    if not rows:
        return []
    judged = rows[-1].reconstructed
    lines = []
    if any(row.samples is not None for row in rows) and (judged.frechet or judged.label_accuracy is not None):
        lines.append("a / b: of new samples / of reconstructions of validation data, which need no prior")
    lines.append(f"{_LOWER} lower is better, {_HIGHER} higher is better")
    if judged.density is not None:
        lines.append(
            "density: how densely validation data lies around the samples, 1 if they are alike; "
            "coverage: share of it with samples around"
        )
    if judged.label_accuracy is not None:
        lines.append(f"recognised: as the class that is meant, by a classifier{_chance_in_words(evaluation)}")
    lines += in_words(evaluation)
    if evaluation.bits_per_calls and rows[-1].bits_standard_error is not None:
        lines.append(
            f"bits per code of {evaluation.prior or 'an order-agnostic prior'}: an upper bound, estimated from random "
            f"orders; its standard error with {rows[-1].codes} codes is {rows[-1].bits_standard_error:.3f}"
        )
    if evaluation.floor is not None:
        distances = ", ".join(f"{name} {brief(value)}" for name, value in evaluation.floor.frechet.items())
        lines.append(f"training data instead of samples has a Fréchet distance of: {distances}")
    return lines


def _chance_in_words(evaluation: Evaluation) -> str:
    shares = {name: f"{share:.1%}" for name, share in evaluation.chance.items()}
    if not shares:
        return ""
    said = " / ".join(dict.fromkeys(shares.values()))
    return f"; by chance {said}, the share of the largest class"


def _printed(row: Row, evaluation: Evaluation) -> dict[str, str]:
    """The numbers of a row, by title."""
    known = dict(cells(row))

    def shown(column: str, form: str, factor: float = 1.0) -> str:
        value = known.get(column)
        return "" if value is None else form.format(value * factor)

    def both(column: str, form: str) -> str:
        return " / ".join(filter(None, (shown(f"{of} {column}", form) for of in ("samples", "reconstructed"))))

    weak = weak_judge(evaluation)
    first_weak = weak if next(iter(evaluation.extractors), None) == CLASSIFIER else ""
    numbers = {
        "codes": shown("codes", "{:.0f}"),
        "budget": shown("budget", "{:.0%}"),
        **{
            f"{metric}{_better(metric, evaluation)}": shown(metric, "{:.4g}")
            for metric in shown_metrics(evaluation.rows)
        },
        **{
            f"Fréchet, {name}{weak if name == CLASSIFIER else ''} {_LOWER}": both(f"frechet {name}", "{:.4g}")
            for name in row.reconstructed.frechet
        },
        f"density{first_weak} {_HIGHER}": both("density", "{:.3f}"),
        f"coverage{first_weak} {_HIGHER}": both("coverage", "{:.3f}"),
        f"recognised{weak} {_HIGHER}": both("label accuracy", "{:.1%}"),
        **{score: both(score, "{:.3f}") for score in row.reconstructed.scores},
        **{
            f"{unit}{', at most' if evaluation.bounded else ''} {_LOWER}": shown(unit, form)
            for unit, form in _needed(evaluation).items()
        },
        "calls": shown("calls", "{:.0f}") if any(one.calls != one.codes for one in evaluation.rows) else "",
        f"ms a sample {_LOWER}": shown("seconds per sample", "{:.3g}", 1e3),
    }
    return {title: number for title, number in numbers.items() if number}


def _needed(evaluation: Evaluation) -> dict[str, str]:
    """The column that says what the prior needs, and the form of its numbers: of values of data, else of codes."""
    if evaluation.data_space is None or evaluation.data_space.needed is None:
        return {_BITS: "{:.3f}"}
    return {evaluation.data_space.unit: "{:.2f}" if evaluation.data_space.unit == NATS else "{:.4f}"}


def _better(metric: str, evaluation: Evaluation) -> str:
    """An arrow in the direction of better values of a metric; empty if that is not known."""
    best = evaluation.perfect.get(metric)
    found = [row.reconstruction[metric] for row in evaluation.rows if metric in row.reconstruction]
    if best is None or not found or best == max(found):
        return ""
    return f" {_LOWER}" if best < max(found) else f" {_HIGHER}"


# What the page shows


@dataclass(frozen=True)
class Table:
    """Formatted numbers, a row for each budget.

    Attributes:
        caption: what the table holds.
        columns: titles; the title of the codes is first.
        rows: number of codes -> cells.
        own: whether it is about the run, not a baseline.
    """

    caption: str
    columns: list[str]
    rows: Mapping[int, list[str]]
    own: bool = True


def comparisons(runs: Sequence[tuple[str, Evaluation]]) -> Iterator[Table]:
    """The first of some named runs beside the others: a metric of reconstructions, Fréchet distance, bits per code."""
    (own_name, own), *baselines = runs
    titles = {metric: f"Reconstruction, {metric}" for metric in shown_metrics(own.rows)[:1]}
    for extractor in keys(row.samples.frechet for row in own.rows if row.samples is not None)[:1]:
        titles[f"samples frechet {extractor}"] = f"Fréchet distance of samples, {extractor}"
    bounded = [name for name, one in runs if one.bits_per_calls and same_codes(own, one)]
    bounds = f"; upper bounds of {listed(bounded)}" if bounded else ""
    titles[_BITS] = f"Bits per code, of runs with the same autoencoder{bounds}"
    comparable = {_BITS: same_codes}
    if own.data_space is not None:
        unit = own.data_space.unit
        bounded = [name for name, one in runs if one.bounded and same_values(own, one)]
        bounds = f"; upper bounds of {listed(bounded)}" if bounded else ""
        titles[unit] = f"{unit.capitalize()}, of runs whose codes are the values of data{bounds}"
        comparable[unit] = same_values
    for column, title in titles.items():
        compared_with = [pair for pair in baselines if comparable.get(column, _always)(own, pair[1])]
        others = {other: points for other, one in compared_with if (points := dict(curve(one, column)))}
        if others:
            headings = [heading for other in others for heading in (other, f"{own_name} / {other}")]
            compared = {
                codes: _compared(value, [points.get(codes) for points in others.values()])
                for codes, value in curve(own, column)
            }
            yield Table(title, ["codes", own_name, *headings], compared)


def _always(own: Evaluation, other: Evaluation) -> bool:
    return True


def full_table(name: str, evaluation: Evaluation, own: bool) -> Table:
    """All numbers of a run; columns without any number, and columns that repeat another one, are left out."""
    rows = {row.codes: dict(cells(row)) for row in evaluation.rows}
    filled = dict.fromkeys(column for row in rows.values() for column, value in row.items() if value is not None)
    left_out = {"codes", *(_repeated(evaluation.rows))}
    columns = [column for column in filled if column not in left_out]
    formatted = {codes: [_cell(row.get(column), column) for column in columns] for codes, row in rows.items()}
    needed = "bits per code" if evaluation.data_space is None else f"bits per code and {evaluation.data_space.unit}"
    bound = f"; {needed} are upper bounds" if evaluation.bounded else ""
    return Table(f"All numbers of {name}{bound}", ["codes", *columns], formatted, own)


def _repeated(rows: Sequence[Row]) -> set[str]:
    """Columns of the loss, if it is one of the metrics."""
    metrics = [metric for metric in keys(row.reconstruction for row in rows) if metric != LOSS]
    same = any(
        all(row.reconstruction.get(metric) == row.reconstruction.get(LOSS) for row in rows) for metric in metrics
    )
    return {LOSS, f"{LOSS} spread"} if same else set()


def _compared(value: float, others: Sequence[float | None]) -> list[str]:
    """A value, then each of the others with its ratio to it; empty if there is none."""
    ratios = [f"{value / other:.3f}" if other else "" for other in others]
    return [brief(value), *(cell for pair in zip(map(_cell, others), ratios, strict=True) for cell in pair)]


def _cell(value: float | None, column: str = "") -> str:
    if value is None:
        return ""
    return f"{value / 2**20:,.0f} MiB" if column == "peak memory" else brief(value)
