"""Pictures of sounds: the clips of each row side by side, as waveforms over mel spectrograms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import librosa
import librosa.display
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from anytime_core.modality import PreviewRow

_COLUMNS = 8
_BANDS = 64
_WINDOW_SECONDS = 0.032
_RANGE_DB = 70.0
_WIDTH, _ROW_HEIGHT = 14.0, 1.8  # inches


def spectrogram_sheet(rows: Sequence[PreviewRow], rate: int, path: Path) -> None:
    """Write rows of clips [B, 1, L], the first eight of each, as one PNG picture."""
    # Figure itself, not pyplot, which would keep global state and look for a display.
    figure = Figure(figsize=(_WIDTH, _ROW_HEIGHT * len(rows) + 0.4), layout="constrained")
    panels = figure.subplots(2 * len(rows), 1, squeeze=False, height_ratios=[1, 2] * len(rows))[:, 0]
    for row, wave, mel in zip(rows, panels[::2], panels[1::2], strict=True):
        clips = row.x[:_COLUMNS, 0].detach().float().cpu().numpy()
        _draw_waves(clips, rate, wave)
        _draw_spectrograms(clips, rate, mel)
        wave.set_title(row.caption, loc="left", fontsize="small")
    for panel in panels:
        panel.label_outer()
    figure.savefig(path, dpi=80, format="png")


def _draw_waves(clips: np.ndarray, rate: int, panel: Axes) -> None:
    joined = clips.flatten()
    librosa.display.waveshow(joined, sr=rate, ax=panel, color="tab:blue", axis=None)
    panel.set(xlim=(0, len(joined) / rate), ylim=(-1, 1), yticks=[], xticks=[])
    _separate(clips, rate, panel)


def _draw_spectrograms(clips: np.ndarray, rate: int, panel: Axes) -> None:
    window = 2 ** round(np.log2(_WINDOW_SECONDS * rate))
    hop = window // 4
    powers = librosa.feature.melspectrogram(
        y=clips.flatten(), sr=rate, n_fft=window, hop_length=hop, n_mels=min(_BANDS, window // 4)
    )
    decibels = librosa.power_to_db(powers, ref=np.max, top_db=_RANGE_DB)
    librosa.display.specshow(decibels, sr=rate, hop_length=hop, x_axis="s", y_axis="mel", ax=panel, cmap="magma")
    panel.set(xlim=(0, clips.size / rate), xlabel="seconds", ylabel="Hz")
    _separate(clips, rate, panel)


def _separate(clips: np.ndarray, rate: int, panel: Axes) -> None:
    for column in range(1, len(clips)):
        panel.axvline(column * clips.shape[1] / rate, color="white", linewidth=2)
        panel.axvline(column * clips.shape[1] / rate, color="grey", linewidth=0.5)
