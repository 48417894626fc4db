"""Audio clips a second, from files and from the cache, against librosa.load of each clip in a plain DataLoader.

Run with `python -m benchmarks.audio_data [--json FILE]`. The files are 300 plucked strings of half a second, written as
16-bit WAV at 22,050 Hz and asked for at 8,000 Hz, so that both sides resample.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import librosa
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from anytime_audio.datasets.clips import cached_clips
from anytime_audio.datasets.files import ClipForm, write_sound
from anytime_audio.datasets.plucks import pluck
from anytime_core.data.user_files import LabelledFiles
from anytime_core.training.batches import ShuffledBatches
from benchmarks.report import Row, median_seconds, report

_FILES, _BATCH = 300, 32
_RECORDED = ClipForm(rate=22_050, length=11_264)
_WANTED = ClipForm(rate=8_000, length=4_096)


class _LoadedEachTime(Dataset):
    """What a training without a cache does."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> torch.Tensor:
        sound, _ = librosa.load(self.files[index], sr=_WANTED.rate)
        sound, _ = librosa.effects.trim(sound, top_db=_WANTED.top_db)
        clip = librosa.util.fix_length(sound, size=_WANTED.length)
        return torch.from_numpy(clip * (_WANTED.peak / np.abs(clip).max())).unsqueeze(0)


def measure() -> Sequence[Row]:
    """Clips a second of building the cache, and of one epoch of training batches."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = [folder / f"{index:03d}.wav" for index in range(_FILES)]
        for index, path in enumerate(files):
            write_sound([pluck(index, _RECORDED)], path, _RECORDED.rate, "16bit")
        plain = DataLoader(_LoadedEachTime(files), batch_size=_BATCH, shuffle=True, drop_last=True)
        cache = folder / "cache"

        def build() -> None:
            shutil.rmtree(cache, ignore_errors=True)
            cached_clips(LabelledFiles(files), _WANTED, cache, "benchmark")

        def load_all() -> None:
            for _ in plain:
                pass

        build()
        batches = iter(
            ShuffledBatches(cached_clips(LabelledFiles(files), _WANTED, cache, "benchmark"), _BATCH, seed=0, workers=0)
        )

        def one_epoch() -> None:
            for _ in range(len(plain)):
                next(batches)

        built, epoch, loaded = median_seconds([build, one_epoch, load_all], repeats=5, warmup=1)
    peer = len(plain) * _BATCH / loaded
    return [
        Row(name, clips / seconds, peer, "librosa.load in a DataLoader", clips / seconds / peer, "clips/s")
        for name, clips, seconds in (
            ("cache build", _FILES, built),
            ("training batches", len(plain) * _BATCH, epoch),
        )
    ]


if __name__ == "__main__":
    report("Audio data", measure)
