"""The plot: Fréchet distance against seconds a sample, a curve for each way to draw, named where it ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from anytime_core.plotting import save_figure
from benchmarks.priors.results import Result

_WIDTH, _HEIGHT = 9.0, 5.6  # inches
_GAP = 0.042
"""Least distance between two names, as a share of the height."""


def plot(results: Sequence[Result], codes: Sequence[int], batch: int, path: Path) -> None:
    """Draw a curve over the numbers of `codes` for each result that was evaluated and timed with such a batch."""
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    axes = figure.subplots()
    contenders = list(dict.fromkeys(one.way.contender for one in results))
    ends = []
    for result in results:
        times = [result.fastest(batch, count) for count in codes]
        distances = [result.frechet(count) for count in codes]
        points = [
            (time.milliseconds, distance)
            for time, distance in zip(times, distances, strict=True)
            if time is not None and distance is not None
        ]
        if points:
            color = f"C{contenders.index(result.way.contender)}"
            style = "-" if result.way.calls is None else "--"
            axes.plot(*zip(*points, strict=True), style, marker="o", markersize=4, color=color)
            ends.append((points[-1], result.way.name, color))
    axes.set(xscale="log", yscale="log", xlabel=f"milliseconds a sample, drawn and decoded, batch {batch}, one thread")
    axes.set_ylabel(f"Fréchet distance of samples, at {', '.join(map(str, codes))} codes")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(FuncFormatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "235" else ""))
    axes.grid(which="both", alpha=0.2)
    figure.draw_without_rendering()  # which settles where curves end
    _name(axes, ends)
    save_figure(figure, path)


def _name(axes: Axes, ends: Sequence[tuple[tuple[float, float], str, object]]) -> None:
    """Write the names of curves right of the panel, from top to bottom as their ends are, with lines to these."""
    place = axes.transData + axes.transAxes.inverted()
    heights: list[float] = []
    for point, name, color in sorted(ends, key=lambda end: end[0][1], reverse=True):
        height = place.transform(point)[1]
        heights.append(min(height, heights[-1] - _GAP) if heights else height)
        axes.annotate(
            name,
            point,
            (1.03, heights[-1]),
            textcoords="axes fraction",
            va="center",
            color=color,
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.6, "alpha": 0.6},
            annotation_clip=False,
        )
