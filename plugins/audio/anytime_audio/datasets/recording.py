"""A user's recording of any length as overlapping clips, which are joined again with cross-fades, at any rate.

L is the number of audio samples of a clip.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soxr
import torch
from torch import Tensor

from anytime_audio.config import Encoding
from anytime_audio.datasets.files import ClipForm, check_audible, write_sound
from anytime_audio.datasets.reading import header, read_blocks, warning_of

_OVERLAP = 8  # a cross-fade takes one over this of a clip


class Recording:
    """One file. It is read block by block, twice: when it is opened, for its level, and when it is iterated.

    Anything odd about it, such as an early end, is logged as a warning.

    Iterating yields clips float32 [1, L], normalised together to the peak of training clips. `write` undoes this.

    Args:
        path: the file.
        form: of clips.
        encoding: of the file that is written.
        keep_rate: write at the rate of the file and as long as it is; else at the rate of clips.

    Raises:
        DataError: on opening, as in `read_blocks`, or the file is silent.
    """

    def __init__(self, path: Path, form: ClipForm, encoding: Encoding, *, keep_rate: bool = False) -> None:
        self.path, self.form, self.encoding, self.keep_rate = path, form, encoding, keep_rate
        self.overlap = form.length // _OVERLAP
        self.length, peak = 0, 0.0
        for block in read_blocks(path, form.rate, form.channels, warning_of(path)):
            self.length += len(block)
            peak = max(peak, float(np.abs(block).max(initial=0)))
        check_audible(peak, path)
        self.gain = form.peak / peak

    def __len__(self) -> int:
        """The number of clips."""
        return 1 + max(0, -(-(self.length - self.form.length) // (self.form.length - self.overlap)))

    def __iter__(self) -> Iterator[Tensor]:
        step = self.form.length - self.overlap
        pending = np.zeros(0, np.float32)
        sent = 0
        for block in read_blocks(self.path, self.form.rate, self.form.channels):
            pending = np.concatenate([pending, block])
            while len(pending) >= self.form.length and sent < len(self) - 1:
                yield self._clip(pending[: self.form.length])
                pending = pending[step:]
                sent += 1
        yield self._clip(pending)

    def _clip(self, sound: np.ndarray) -> Tensor:
        return torch.from_numpy(np.pad(sound * self.gain, (0, self.form.length - len(sound)))).unsqueeze(0)

    def write(self, clips: Iterable[Tensor], path: Path) -> None:
        """Join clips [1, L], as many as iterating gave, and write them at the recording's level and length."""
        if not self.keep_rate:
            write_sound(self._joined(clips), path, self.form.rate, self.encoding)
            return
        rate, frames = header(self.path)
        expected = round(self.length * rate / self.form.rate)
        # If a header is wrong, as in a file that ends early, it is far from what was read.
        frames = frames if abs(frames - expected) <= 1 + rate / self.form.rate else expected
        write_sound(_resampled(self._joined(clips), self.form.rate, rate, frames), path, rate, self.encoding)

    def _joined(self, clips: Iterable[Tensor]) -> Iterator[np.ndarray]:
        # Rising and falling halves of a squared sine add up to one.
        rise = np.sin(np.linspace(0, np.pi / 2, self.overlap, dtype=np.float32)) ** 2
        step = self.form.length - self.overlap
        left, tail = self.length, None
        for clip in clips:
            sound = clip[0].detach().float().cpu().numpy() / self.gain
            if tail is not None:
                sound = np.concatenate([tail * (1 - rise) + sound[: self.overlap] * rise, sound[self.overlap :]])
            tail = sound[step:]
            yield sound[: min(step, left)]
            left -= step
        if tail is not None and left > 0:
            yield tail[:left]


def _resampled(blocks: Iterable[np.ndarray], before: int, rate: int, frames: int) -> Iterator[np.ndarray]:
    """Blocks at the rate `before`, resampled to `frames` audio samples at another rate."""
    resampler = soxr.ResampleStream(before, rate, 1, dtype="float32")
    for block in blocks:
        part = resampler.resample_chunk(block)[:frames]
        frames -= len(part)
        yield part
    rest = resampler.resample_chunk(np.zeros(0, np.float32), last=True)[:frames]
    yield np.pad(rest, (0, frames - len(rest)))
