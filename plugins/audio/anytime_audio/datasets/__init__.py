"""Sound data sets: synthesised plucked strings, torchaudio's collections, spoken digits, and any folder or tar shards
of sounds.

n is the number of clips, L that of the audio samples of a clip. Items are float32 [1, L] in [-1, 1]; storage is 16-bit.
"""

from __future__ import annotations

from collections.abc import Sequence

from anytime_audio.config import DataConfig
from anytime_audio.datasets.clips import Clips, cached_clips
from anytime_audio.datasets.files import ClipForm
from anytime_audio.datasets.fitting import fitting_note
from anytime_audio.datasets.plucks import PITCH_CLASSES, synthesise
from anytime_audio.datasets.reading import header_rate
from anytime_audio.datasets.sources import find_files
from anytime_core.data.locations import cache_folder
from anytime_core.display import counted
from anytime_core.found import Found, PassedOver, class_counts, count_forms
from anytime_core.modality import Datasets

_HEADERS = 200  # files read for their rates; in MP3 files this counts all frames
_TRAINING_PLUCKS, _VALIDATION_PLUCKS = 3600, 480


def clip_form(config: DataConfig) -> ClipForm:
    """The form of the clips that files become."""
    return ClipForm(config.rate, config.length, config.cut, config.top_db, config.peak, config.channels)


def load_datasets(config: DataConfig) -> Datasets:
    """Training and validation clips.

    Raises:
        DataError: the data was not found, a file is at fault, or the cache cannot be written; the message says which.
    """
    if config.name == "plucks":
        return _plucks(config)
    split = find_files(config.name, config.root, download=config.download, share=config.validation_share)
    folder = config.cache or cache_folder("clips")
    train, validation = (
        cached_clips(part, clip_form(config), folder, config.name) for part in (split.train, split.validation)
    )
    found, clips = split.found or Found(train=0, validation=0), len(train) + len(validation)
    unusable = [kind for part in (train, validation) for kind in part.passed_over]
    files = len(split.train.files) + len(split.validation.files) - sum(kind.count for kind in unusable)
    forms, notes = count_forms(split.train.files, header_rate, most=_HEADERS)
    cut = (f"{clips:,} clips come from {counted(files, 'sounds')}",) if clips != files else ()
    fitted = fitting_note([train.fitting, validation.fitting], clip_form(config))
    found = found.model_copy(
        update={
            "train": len(train),
            "validation": len(validation),
            "classes": class_counts(split.classes, *(_labels(part) for part in (train, validation))),
            "forms": forms,
            "notes": (*found.notes, *cut, *fitted, *notes, *train.notes, *validation.notes),
            "passed_over": (*found.passed_over, *_together(unusable)),
        }
    )
    return Datasets(train, validation, split.classes, found)


def _labels(clips: Clips) -> list[int] | None:
    return None if clips.labels is None else clips.labels.tolist()


def _together(kinds: Sequence[PassedOver]) -> list[PassedOver]:
    """What was passed over in both parts, with equal reasons counted together."""
    if len(kinds) < 2:
        return list(kinds)
    examples = tuple(example for kind in kinds for example in kind.examples)
    return [kinds[0].model_copy(update={"count": sum(kind.count for kind in kinds), "examples": examples})]


def _plucks(config: DataConfig) -> Datasets:
    return Datasets(
        synthesise(range(_TRAINING_PLUCKS), clip_form(config)),
        synthesise(range(_TRAINING_PLUCKS, _TRAINING_PLUCKS + _VALIDATION_PLUCKS), clip_form(config)),
        PITCH_CLASSES,
    )


__all__ = ["ClipForm", "Clips", "DataConfig", "load_datasets"]
