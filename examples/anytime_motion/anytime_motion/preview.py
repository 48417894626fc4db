"""Pictures of motion: each sample as a figure that moves on while time passes, its left limbs blue, its right ones red.

S is the number of time steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from anytime_core.modality import PreviewRow
from anytime_motion.skeleton import Limbs, pose, to_units

_COLUMNS = 8
_POSES = 6
_WALKED = 3.1  # metres from a sample's first pose to its last
_WIDTH, _BOTTOM, _TOP = 4.3, -0.1, 2.3  # in metres: a sample's part of the picture
_INCHES = 1.9  # inches of the picture for this width
_LEFT, _RIGHT, _TRUNK, _GROUND = "tab:blue", "tab:red", "0.2", "0.8"

Line = tuple[np.ndarray, str, float]
"""Points [points, 2], colour and width."""


def figure_sheet(rows: Sequence[PreviewRow], path: Path) -> None:
    """Write rows of samples [B, 12, S], the first eight of each, as one PNG picture."""
    columns = min(_COLUMNS, max(len(row.x) for row in rows))
    height = _INCHES * (_TOP - _BOTTOM) / _WIDTH
    # Figure itself, not pyplot, which would keep global state and look for a display.
    figure = Figure(figsize=(_INCHES * columns, height * len(rows)))
    for number, row in enumerate(rows):
        panel = figure.add_axes((0, 1 - (number + 1) / len(rows), 1, 1 / len(rows)))
        _draw(row, columns, panel)
    figure.savefig(path, dpi=96, format="png")


def _draw(row: PreviewRow, columns: int, panel: Axes) -> None:
    panel.set(xlim=(0, columns * _WIDTH), ylim=(_BOTTOM, _TOP))
    panel.axis("off")
    panel.text(0.1, _TOP - 0.05, row.caption, fontsize=7, va="top")
    samples = pose(to_units(row.x[:columns].detach().float().cpu()))
    lines = [line for index in range(len(row.x[:columns])) for line in _lines(samples, index)]
    points, colors, widths = zip(*lines, strict=True)
    panel.add_collection(LineCollection(points, colors=colors, linewidths=widths, capstyle="round"))
    heads = np.concatenate([points[-1:] for points, color, _ in lines if color == _TRUNK])
    panel.scatter(heads[:, 0], heads[:, 1], s=11, color=_TRUNK, linewidths=0, zorder=3)


def _lines(samples: Limbs, index: int) -> Iterator[Line]:
    """The lines of one sample: the ground, the paths of ankles and wrists, and poses at evenly spaced time steps."""
    (left_leg, right_leg), (left_arm, right_arm) = samples.legs, samples.arms
    limbs = [(left_leg, _LEFT), (left_arm, _LEFT), (right_leg, _RIGHT), (right_arm, _RIGHT)]
    left_edge = index * _WIDTH
    yield np.array([[left_edge + 0.05, 0], [left_edge + _WIDTH - 0.05, 0]]), _GROUND, 0.8
    steps = samples.trunk[0].shape[-1]
    moved = np.zeros((steps, 2))
    moved[:, 0] = left_edge + (_WIDTH - _WALKED) / 2 + np.linspace(0, _WALKED, steps)
    drawn = np.linspace(0, steps - 1, _POSES).round().astype(int)
    for chain, color in limbs:
        yield chain[2][index].T.numpy() + moved, color, 0.25
    for chain, color in [*limbs, (samples.trunk, _TRUNK)]:
        joints = np.stack([joint[index].T.numpy() for joint in chain], 1) + moved[:, None]  # [S, joints, 2]
        for step in drawn:
            yield joints[step], color, 1.0
