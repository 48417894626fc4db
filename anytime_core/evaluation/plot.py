"""Plots of quality against budget, as PNG pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from anytime_core.evaluation.reconstruction import ReconstructionCurve
from anytime_core.evaluation.result import Evaluation, Quality, Row
from anytime_core.files import replacing

_WIDTH, _HEIGHT = 3.6, 3.0  # inches, of one panel
_COLUMNS = 4

_Value = Callable[[Row], float | None]


def plot_curve(curve: ReconstructionCurve, path: Path) -> None:
    """One panel for each measure over the number of leading codes."""
    figure, panels = _panels(len(curve.values), len(curve.values))
    for panel, (measure, values) in zip(panels, curve.values.items(), strict=True):
        panel.plot(curve.lengths, values, marker="o", color="tab:blue")
        panel.set_title(measure)
        panel.set_xticks(curve.lengths)
    figure.suptitle(f"reconstruction of {curve.samples} validation samples")
    _save(figure, path)


def plot_evaluations(evaluations: Sequence[Evaluation], path: Path) -> None:
    """One panel for each kind of quality and cost: the first evaluation in blue, the others in grey.

    Where there are both, samples are drawn through and reconstructions dashed.
    """
    measured = [
        (title, curves)
        for title, curves in _curves(evaluations[0].rows[-1])
        if any(value(row) is not None for _, value in curves for row in evaluations[0].rows)
    ]
    figure, panels = _panels(len(measured), _COLUMNS)
    for panel, (title, curves) in zip(panels, measured, strict=False):
        for number, evaluation in reversed(list(enumerate(evaluations))):
            for style, value in curves:
                points = [(row.codes, value(row)) for row in evaluation.rows]
                known = [(codes, point) for codes, point in points if point is not None]
                if known:
                    colour = "tab:blue" if number == 0 else "0.6"
                    panel.plot(*zip(*known, strict=True), style, color=colour, marker=".", label=_name(evaluation))
        panel.set_title(title)
    for panel in panels[len(measured) :]:
        panel.remove()
    figure.suptitle(f"{evaluations[0].run}: solid, new samples; dashed, reconstructions")
    _save(figure, path)


def _name(evaluation: Evaluation) -> str:
    return evaluation.baseline or Path(evaluation.run).name


def _curves(row: Row) -> list[tuple[str, list[tuple[str, _Value]]]]:
    """Titles of the panels, and what is drawn in each, for what `row` knows."""

    def both(value: Callable[[Quality], float | None]) -> list[tuple[str, _Value]]:
        return [
            ("-", lambda row: None if row.samples is None else value(row.samples)),
            ("--", lambda row: value(row.reconstructed)),
        ]

    def metric(name: str) -> list[tuple[str, _Value]]:
        return [("--", lambda row: row.reconstruction.get(name))]

    def distance(name: str) -> list[tuple[str, _Value]]:
        return both(lambda quality: quality.frechet.get(name))

    return [
        *((f"reconstruction: {name}", metric(name)) for name in row.reconstruction if name != "loss"),
        *((f"Fréchet distance, {name}", distance(name)) for name in row.reconstructed.frechet),
        ("recognised as meant", both(lambda quality: quality.label_accuracy)),
        ("precision", both(lambda quality: quality.precision)),
        ("recall", both(lambda quality: quality.recall)),
        ("bits per code", [("-", lambda row: row.bits_per_code)]),
        ("milliseconds a sample", [("-", lambda row: row.seconds_per_sample and row.seconds_per_sample * 1e3)]),
    ]


def _panels(number: int, columns: int) -> tuple[Figure, list[Axes]]:
    """A figure of at least `number` panels over the number of codes."""
    rows = -(-number // columns)
    # Figure itself, not pyplot, which would keep global state and look for a display.
    figure = Figure(figsize=(_WIDTH * columns, _HEIGHT * rows), layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel in panels:
        panel.set_xlabel("codes")
        panel.grid(alpha=0.3)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure, panels


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
