"""Plots of quality against budget."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from anytime_core.evaluation.reconstruction import ReconstructionCurve
from anytime_core.files import replacing

_WIDTH, _HEIGHT = 3.6, 3.0  # inches, of one panel


def plot_curve(curve: ReconstructionCurve, path: Path) -> None:
    """One panel for each measure over the number of leading codes, as a PNG picture."""
    # Figure itself, not pyplot, which would keep global state and look for a display.
    figure = Figure(figsize=(_WIDTH * len(curve.values), _HEIGHT), layout="constrained")
    panels = figure.subplots(1, len(curve.values), squeeze=False)[0]
    for panel, (measure, values) in zip(panels, curve.values.items(), strict=True):
        panel.plot(curve.lengths, values, marker="o", color="tab:blue")
        panel.set_title(measure)
        panel.set_xlabel("codes")
        panel.set_xticks(curve.lengths)
        panel.grid(alpha=0.3)
    figure.suptitle(f"reconstruction of {curve.samples} validation samples")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
