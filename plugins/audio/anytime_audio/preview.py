"""Pictures of sounds: the clips of each row side by side, as waveforms over mel spectrograms.

All rows share one scale of time and one of levels, so that they can be compared. Pillow draws them: importing a
plotting library takes longer than drawing the samples.
L is the number of audio samples, H that of a picture's rows of pixels, T and M are frames and mel bands.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from anytime_audio.spectra import magnitudes, mel_filters
from anytime_core.modality import PreviewRow

_Font = ImageFont.ImageFont | ImageFont.FreeTypeFont

_COLUMNS = 8
_BANDS = 64
_WINDOW_SECONDS = 0.032
_RANGE_DB = 70.0

_WIDTH, _LEFT, _RIGHT = 1040, 72, 16
_CAPTION, _WAVE, _MEL, _GAP, _AXIS = 20, 44, 92, 4, 40
_ROW = _CAPTION + _WAVE + _GAP + _MEL
_TEXT = 13
_MOST_TICKS = 12

_PAPER, _INK, _BLUE, _GREY = (255, 255, 255), (40, 40, 40), (31, 119, 180), (128, 128, 128)
_LEVELS = np.array(
    [
        (0, 0, 4),
        (28, 16, 68),
        (79, 18, 123),
        (129, 37, 129),
        (181, 54, 122),
        (229, 80, 100),
        (251, 135, 97),
        (254, 194, 135),
        (252, 253, 191),
    ]
)
"""Colours from the softest to the loudest, evenly spaced: matplotlib's magma."""
_FREQUENCIES = (125, 250, 500, 1000, 2000, 4000, 8000, 16000)  # Hz


def spectrogram_sheet(rows: Sequence[PreviewRow], rate: int, path: Path) -> None:
    """Write rows of clips [B, 1, L], the first eight of each, as one PNG picture."""
    sounds = [row.x[:_COLUMNS, 0].detach().float().cpu().nan_to_num() for row in rows]  # [B, L] each
    longest = max(clips.numel() for clips in sounds)
    levels = [_levels(clips, rate) for clips in sounds]
    loudest = max(float(level.max()) for level in levels)
    sheet = Image.new("RGB", (_LEFT + _WIDTH + _RIGHT, _ROW * len(rows) + _AXIS), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_TEXT)
    for number, (row, clips, level) in enumerate(zip(rows, sounds, levels, strict=True)):
        width = max(1, _WIDTH * clips.numel() // longest)
        top = number * _ROW
        draw.text((_LEFT, top + _CAPTION // 2), row.caption, fill=_INK, font=font, anchor="lm")
        sheet.paste(Image.fromarray(_wave(clips.flatten().numpy(), width)), (_LEFT, top + _CAPTION))
        mel_top = top + _CAPTION + _WAVE + _GAP
        sheet.paste(_spectrogram(level - loudest, width), (_LEFT, mel_top))
        _separate(draw, len(clips), width, top + _CAPTION, mel_top + _MEL)
        _mark_frequencies(draw, font, rate, mel_top)
    _mark_seconds(draw, font, longest / rate, _ROW * len(rows))
    sheet.save(path, format="PNG")


def _wave(sound: np.ndarray, width: int) -> np.ndarray:
    """[audio samples] -> a waveform uint8 [H, width, 3]; each column reaches from the lowest to the highest value."""
    starts = np.arange(width) * len(sound) // width
    heights = (1 - np.nan_to_num(sound).clip(-1, 1)) / 2 * (_WAVE - 1)
    tops, bottoms = np.minimum.reduceat(heights, starts), np.maximum.reduceat(heights, starts)
    # A column reaches to the one before it, so that the line has no gaps.
    tops[1:], bottoms[1:] = np.minimum(tops[1:], bottoms[:-1]), np.maximum(bottoms[1:], tops[:-1])
    lines = np.arange(_WAVE)[:, None]
    drawn = (lines >= tops.round()) & (lines <= bottoms.round())
    return np.where(drawn[..., None], np.array(_BLUE), np.array(_PAPER)).astype(np.uint8)


def _levels(clips: torch.Tensor, rate: int) -> torch.Tensor:
    """[B, L] -> decibels [T, M] in mel bands."""
    window = 2 ** round(math.log2(_WINDOW_SECONDS * rate))
    filters = mel_filters(window, min(_BANDS, window // 5), rate, "slaney")
    powers = magnitudes(clips.flatten()[None, None], window)[0].square().T @ filters
    return 10 * powers.clamp(min=1e-10).log10()


def _spectrogram(decibels: torch.Tensor, width: int) -> Image.Image:
    """[T, M] in dB, 0 the loudest -> a picture `width` wide, down to 70 dB below, with low bands at the bottom."""
    levels = (decibels / _RANGE_DB + 1).clamp(0, 1).T.flip(0).numpy()
    stops = np.linspace(0, 1, len(_LEVELS))
    colours = np.stack([np.interp(levels, stops, channel) for channel in _LEVELS.T], -1)
    picture = Image.fromarray(colours.round().astype(np.uint8))
    return picture.resize((width, _MEL), Image.Resampling.BOX)


def _separate(draw: ImageDraw.ImageDraw, clips: int, width: int, top: int, bottom: int) -> None:
    """Lines between the clips."""
    for number in range(1, clips):
        x = _LEFT + number * width // clips
        draw.line((x, top, x, bottom - 1), fill=_PAPER, width=2)
        draw.line((x, top, x, bottom - 1), fill=_GREY)


def _mark_frequencies(draw: ImageDraw.ImageDraw, font: _Font, rate: int, top: int) -> None:
    """Octaves at the left of a spectrogram, at least as far apart as their text is high."""
    free = top + _MEL
    for frequency in _FREQUENCIES:
        y = top + _MEL - round(_MEL * _mel(frequency) / _mel(rate / 2))
        if y < top + _TEXT // 2 or y > free:
            continue
        draw.line((_LEFT - 4, y, _LEFT - 1, y), fill=_INK)
        draw.text((_LEFT - 7, y), f"{frequency} Hz", fill=_INK, font=font, anchor="rm")
        free = y - _TEXT


def _mark_seconds(draw: ImageDraw.ImageDraw, font: _Font, seconds: float, top: int) -> None:
    """An axis under the last row."""
    step = 10.0 ** math.ceil(math.log10(seconds / _MOST_TICKS))
    step = next(part for part in (step / 5, step / 2, step) if seconds / part <= _MOST_TICKS)
    for number in range(int(seconds / step * (1 + 1e-9)) + 1):
        x = _LEFT + round(number * step / seconds * (_WIDTH - 1))
        draw.line((x, top, x, top + 3), fill=_INK)
        draw.text((x, top + 6), f"{number * step:g}", fill=_INK, font=font, anchor="ma")
    draw.text((_LEFT + _WIDTH // 2, top + 22), "seconds", fill=_INK, font=font, anchor="ma")


def _mel(frequency: float) -> float:
    """Hz to mel on Slaney's scale: linear up to 1000 Hz, then logarithmic."""
    low, step = 1000.0, 200 / 3
    return frequency / step if frequency < low else low / step + math.log(frequency / low) / (math.log(6.4) / 27)
