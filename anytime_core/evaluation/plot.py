"""Plots of quality against budget, as PNG pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from anytime_core.evaluation.measures import curve, measures, names, need_logarithms
from anytime_core.evaluation.reconstruction import ReconstructionCurve
from anytime_core.evaluation.result import Evaluation
from anytime_core.files import replacing

_WIDTH, _HEIGHT = 3.6, 3.0  # inches, of one panel
_COLUMNS = 4
_MARKERS = ".sv^Dx+P"


def plot_curve(curve: ReconstructionCurve, path: Path) -> None:
    """One panel for each measure over the number of leading codes."""
    figure, panels = _panels(len(curve.values), len(curve.values))
    for panel, (measure, values) in zip(panels, curve.values.items(), strict=True):
        panel.plot(curve.lengths, values, marker="o", color="tab:blue")
        panel.set_title(measure)
        panel.set_xticks(spaced_ticks(curve.lengths))
    figure.suptitle(f"reconstruction of {curve.samples} validation samples")
    _save(figure, path)


def plot_evaluations(evaluations: Sequence[Evaluation], path: Path) -> None:
    """Write `quality_figure` as a PNG picture."""
    _save(quality_figure(evaluations), path)


def quality_figure(evaluations: Sequence[Evaluation]) -> Figure:
    """One panel for each kind of quality and cost: the first evaluation in blue, the others in grey.

    Samples are drawn solid and reconstructions dashed, on a logarithmic scale where values are far apart.
    """
    measured = [
        measure
        for measure in measures(evaluations)
        if any(curve(one, column) for one in evaluations for column in (measure.column, measure.reconstructed))
    ]
    figure, panels = _panels(len(measured), _COLUMNS)
    for panel, measure in zip(panels, measured, strict=False):
        shown: list[float] = []
        for number, evaluation in reversed(list(enumerate(evaluations))):
            look: dict[str, Any] = {"color": "tab:blue" if number == 0 else f"{0.4 + 0.1 * (number % 4):.1f}"}
            for style, column in (("--", measure.reconstructed), ("-", measure.column)):
                drawn = curve(evaluation, column)
                if drawn:
                    panel.plot(*zip(*drawn, strict=True), style, marker=_MARKERS[number % len(_MARKERS)], **look)
                    shown += [value for _, value in drawn]
        own = evaluations[0]
        _draw_levels(panel, measure.levels, curve(own, measure.column) or curve(own, measure.reconstructed))
        if not measure.share and need_logarithms(shown):
            panel.set_yscale("log")
        panel.set_title(measure.title)
    for panel in panels[len(measured) :]:
        panel.remove()
    handles = [
        Line2D([], [], marker=_MARKERS[number % len(_MARKERS)], color="tab:blue" if number == 0 else "0.5", label=name)
        for number, name in enumerate(names(evaluations))
    ]
    figure.suptitle(f"{names(evaluations)[0]}: solid, new samples; dashed, reconstructions")
    if len(handles) > 1:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _draw_levels(panel: Axes, levels: Mapping[str, float], line: Sequence[tuple[int, float]]) -> None:
    """Thin lines with their names, on the side where the line of the run is farther away."""
    for name, value in levels.items() if line else ():
        panel.axhline(value, color="0.6", linewidth=0.8)
        right = abs(line[-1][1] - value) >= abs(line[0][1] - value)
        panel.annotate(
            name,
            (0.99 if right else 0.01, value),
            (0, 2),
            panel.get_yaxis_transform(),  # across in shares of the panel, up in values
            "offset points",
            ha="right" if right else "left",
            fontsize="x-small",
            color="0.4",
        )


def spaced_ticks(numbers: Sequence[int], most: int = 8) -> list[int]:
    """Those of some ascending numbers whose labels do not touch: the last one, and others at least `most`-ths away."""
    gap = (numbers[-1] - numbers[0]) / most
    kept: list[int] = []
    for number in numbers[:-1]:
        if numbers[-1] - number >= gap and (not kept or number - kept[-1] >= gap):
            kept.append(number)
    return [*kept, numbers[-1]]


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
