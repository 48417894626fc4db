"""The begin and end of a long sound, found while it is read, as `librosa.effects.trim` finds them in a whole one."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_AT_ONCE = 2**18


class Extent(NamedTuple):
    """What is left of a sound: audio samples from `start` up to `stop`; the largest absolute value is `peak`."""

    start: int
    stop: int
    peak: float


class Outline:
    """The level and peak of a sound in overlapping frames.

    Args:
        window, hop: audio samples of a frame, and from one frame to the next.
    """

    def __init__(self, window: int, hop: int) -> None:
        self.window, self.hop, self.length = window, hop, 0
        self._levels: list[np.ndarray] = []
        self._peaks: list[np.ndarray] = []  # of pieces of `hop`
        self._framed = np.zeros(window // 2, np.float32)  # the beginning of the next frame; librosa pads as much
        self._piece = np.zeros(0, np.float32)

    def add(self, block: np.ndarray) -> None:
        """Add the next audio samples, float32 [n]."""
        self.length += len(block)
        for start in range(0, len(block), _AT_ONCE):  # frames overlap, so they take a multiple of the memory
            part = block[start : start + _AT_ONCE]
            self._frame(part)
            piece = np.concatenate([self._piece, part])
            whole = len(piece) // self.hop * self.hop
            self._peaks.append(np.abs(piece[:whole]).reshape(-1, self.hop).max(1))
            self._piece = piece[whole:]

    def extent(self, top_db: float | None) -> Extent:
        """What is left once all is added: both ends are trimmed where they are `top_db` below the loudest frame."""
        peaks = np.concatenate([*self._peaks, [np.abs(self._piece).max(initial=0)]])
        if top_db is None:
            return Extent(0, self.length, float(peaks.max()))
        import librosa

        self._frame(np.zeros(self.window // 2, np.float32))
        levels = librosa.amplitude_to_db(np.concatenate(self._levels), ref=np.max, top_db=None)
        heard = np.flatnonzero(levels > -top_db)
        if not len(heard):
            return Extent(0, 0, 0.0)
        first, last = int(heard[0]), int(heard[-1]) + 1
        peak = float(peaks[first:last].max(initial=0))
        return Extent(first * self.hop, min(self.length, last * self.hop), peak)

    def _frame(self, sound: np.ndarray) -> None:
        import librosa

        framed = np.concatenate([self._framed, sound])
        number = (len(framed) - self.window) // self.hop + 1
        if number > 0:
            frames = librosa.feature.rms(y=framed, frame_length=self.window, hop_length=self.hop, center=False)
            self._levels.append(frames[0])
            framed = framed[number * self.hop :]
        self._framed = framed
