"""Sound data sets: synthesised plucked strings, torchaudio's collections, spoken digits, and any folder
or tar shards of sounds.

Letters: n clips, L audio samples of a clip. Items are float32 [1, L] in [-1, 1]; storage is 16-bit.
"""

from __future__ import annotations

from anytime_audio.config import DataConfig
from anytime_audio.datasets.clips import Clips, cached_clips
from anytime_audio.datasets.files import ClipForm, header_rate
from anytime_audio.datasets.plucks import PITCH_CLASSES, synthesise
from anytime_audio.datasets.sources import find_files
from anytime_core.found import Found, count_forms
from anytime_core.locations import cache_folder
from anytime_core.modality import Datasets
from anytime_core.user_files import SplitFiles

_HEADERS = 200  # that are looked at for their rates; of MP3 files all frames are counted
_TRAINING_PLUCKS, _VALIDATION_PLUCKS = 3600, 480


def clip_form(config: DataConfig) -> ClipForm:
    """What files are turned into."""
    return ClipForm(config.rate, config.length, config.cut, config.top_db, config.peak)


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
        cached_clips(part, clip_form(config), folder, config.name) for part in (split.train, split.validation)
    )
    return Datasets(train, validation, split.classes, _described(split, len(train) + len(validation)))


def _described(split: SplitFiles, clips: int) -> Found | None:
    """What was found, counted in files, with the rates of the training files, from their headers."""
    if split.found is None:
        return None
    forms, notes = count_forms(split.train.files, header_rate, most=_HEADERS)
    files = split.found.train + split.found.validation
    cut = (f"{files} sounds give {clips} clips",) if clips != files else ()
    return split.found.model_copy(update={"forms": forms, "notes": (*split.found.notes, *cut, *notes)})


def _plucks(config: DataConfig) -> Datasets:
    return Datasets(
        synthesise(range(_TRAINING_PLUCKS), clip_form(config)),
        synthesise(range(_TRAINING_PLUCKS, _TRAINING_PLUCKS + _VALIDATION_PLUCKS), clip_form(config)),
        PITCH_CLASSES,
    )


__all__ = ["ClipForm", "Clips", "DataConfig", "load_datasets"]
