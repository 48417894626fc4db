"""Sound data sets: synthesised plucked strings, torchaudio's collections, spoken digits, and any folder of sounds.

Letters: n clips, L audio samples of a clip. Items are float32 [1, L] in [-1, 1]; storage is 16-bit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from anytime_audio.datasets.clips import Clips, cached_clips
from anytime_audio.datasets.files import ClipForm
from anytime_audio.datasets.plucks import PITCH_CLASSES, synthesise
from anytime_audio.datasets.sources import find_files
from anytime_core.config import Section
from anytime_core.locations import cache_folder
from anytime_core.modality import Datasets

Name = Literal["plucks", "folder", "fsdd", "vctk", "speechcommands", "ljspeech", "librispeech", "yesno"]

_TRAINING_PLUCKS, _VALIDATION_PLUCKS = 3600, 480


class DataConfig(Section):
    """Which sounds, and in which form."""

    name: Name = Field("plucks", description="plucks, folder, fsdd, vctk, speechcommands, ljspeech, librispeech, yesno")
    root: Path | None = Field(None, description="folder of the data set; null: the usual places, see anytime doctor")
    download: bool = Field(False, description="download the data set where it is missing")
    rate: int = Field(8000, ge=1000, le=192_000, description="audio samples a second; files are resampled to it")
    length: int = Field(2048, ge=64, le=2**22, description="audio samples of a clip")
    cut: Literal["start", "all"] = Field(
        "start", description="of files longer than a clip: start takes their beginning, all cuts them into clips"
    )
    top_db: float | None = Field(
        30.0, gt=0, description="trim what is this many dB below the peak at both ends; null: trim nothing"
    )
    peak: float = Field(0.95, gt=0, le=1, description="largest absolute value of a file after normalisation")
    shift: int = Field(0, ge=0, description="audio samples by which training clips are moved at random, at most")
    validation_share: float = Field(
        0.1, gt=0, lt=1, description="share of files kept for validation where the data set has no split"
    )
    cache: Path | None = Field(None, description="folder of prepared clips; null: ~/.cache/anytime/clips")

    @property
    def form(self) -> ClipForm:
        """What files are turned into."""
        return ClipForm(rate=self.rate, length=self.length, cut=self.cut, top_db=self.top_db, peak=self.peak)


def load_datasets(config: DataConfig) -> Datasets:
    """Training and validation clips.

    Raises:
        DataError: saying where the data was looked for, which file is at fault, or why the cache cannot be written.
    """
    if config.name == "plucks":
        return _plucks(config)
    split = find_files(config.name, config.root, download=config.download, share=config.validation_share)
    folder = config.cache or cache_folder("clips")
    train, validation = (
        cached_clips(part, config.form, folder, config.name) for part in (split.train, split.validation)
    )
    return Datasets(train, validation, split.classes)


def _plucks(config: DataConfig) -> Datasets:
    return Datasets(
        synthesise(range(_TRAINING_PLUCKS), config.form),
        synthesise(range(_TRAINING_PLUCKS, _TRAINING_PLUCKS + _VALIDATION_PLUCKS), config.form),
        PITCH_CLASSES,
    )


__all__ = ["ClipForm", "Clips", "DataConfig", "load_datasets"]
