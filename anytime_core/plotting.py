"""Figures of quality against the number of codes, and the plot of an autoencoder's curve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from anytime_core.curve import ReconstructionCurve
from anytime_core.data.files import replacing

_WIDTH, _HEIGHT = 3.6, 3.0  # inches, of one panel


def plot_curve(curve: ReconstructionCurve, path: Path) -> None:
    """Plot each measure over the number of leading codes, one panel each."""
    figure, panels = panels_over_codes(len(curve.values), len(curve.values))
    for panel, (measure, values) in zip(panels, curve.values.items(), strict=True):
        panel.plot(curve.lengths, values, marker="o", color="tab:blue")
        panel.set_title(measure)
        panel.set_xticks(spaced_ticks(curve.lengths))
    figure.suptitle(f"reconstruction of {curve.samples} validation samples")
    save_figure(figure, path)


def spaced_ticks(numbers: Sequence[int], most: int = 8) -> list[int]:
    """Some of the ascending `numbers`, at most about `most`, so that labels do not touch; always with the last one."""
    gap = (numbers[-1] - numbers[0]) / most
    kept: list[int] = []
    for number in numbers[:-1]:
        if numbers[-1] - number >= gap and (not kept or number - kept[-1] >= gap):
            kept.append(number)
    return [*kept, numbers[-1]]


def panels_over_codes(number: int, columns: int) -> tuple[Figure, list[Axes]]:
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


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG picture, whole or not at all."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
