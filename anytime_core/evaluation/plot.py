"""Plots of quality against budget, as PNG pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from anytime_core.evaluation.measures import curve, measures, names, need_logarithms
from anytime_core.evaluation.result import Evaluation
from anytime_core.plotting import panels_over_codes, save_figure

_COLUMNS = 4
_MARKERS = ".sv^Dx+P"


def plot_evaluations(evaluations: Sequence[Evaluation], path: Path) -> None:
    """Write `quality_figure` as a PNG picture."""
    save_figure(quality_figure(evaluations), path)


def quality_figure(evaluations: Sequence[Evaluation]) -> Figure:
    """One panel for each kind of quality and cost: the first evaluation in blue, the others in grey.

    Samples are drawn solid and reconstructions dashed, on a logarithmic scale if values are far apart.
    """
    measured = [
        measure
        for measure in measures(evaluations)
        if any(curve(one, column) for one in evaluations for column in (measure.column, measure.reconstructed))
    ]
    figure, panels = panels_over_codes(len(measured), _COLUMNS)
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
    """Thin lines with their names, on the side where the line of the run is farther away, and inside of the panel."""
    highest = max([value for _, value in line], default=0.0)
    for name, value in levels.items() if line else ():
        panel.axhline(value, color="0.6", linewidth=0.8)
        high = value > 0.95 * highest
        right = abs(line[-1][1] - value) >= abs(line[0][1] - value)
        panel.annotate(
            name,
            (0.99 if right else 0.01, value),
            (0, -2 if high else 2),
            panel.get_yaxis_transform(),  # across in shares of the panel, up in values
            "offset points",
            ha="right" if right else "left",
            va="top" if high else "baseline",
            fontsize="x-small",
            color="0.4",
        )
