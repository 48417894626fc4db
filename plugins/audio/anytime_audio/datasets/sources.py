"""The files of a named data set, with their labels and split.

torchaudio's data sets download, check and unpack the collections. The files are read by
`anytime_audio.datasets.reading`, because torchaudio's own reader needs another package.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from anytime_audio.datasets.reading import SOUND_SUFFIXES, UNREAD_SUFFIXES
from anytime_core.data.locations import open_data_set
from anytime_core.data.shards import split_shards
from anytime_core.data.user_files import LabelledFiles, SplitFiles, hold_out, split_folder, with_found

_FSDD_FILE = re.compile(r"(?P<digit>\d)_(?P<speaker>[^_]+)_(?P<index>\d+)")
_FSDD_TEST_RECORDINGS = 5
_FSDD_HOME = "https://github.com/Jakobovski/free-spoken-digit-dataset"
_LIBRISPEECH_PARTS = ("train-clean-100", "dev-clean")


def find_files(name: str, root: Path | None, *, download: bool, share: float) -> SplitFiles:
    """The files of data set `name`.

    Args:
        name: `folder`, `webdataset`, or a collection.
        root: the `data.root` of the config.
        download: fetch the collection if it is missing.
        share: of the files, for validation, if the data set has no split of its own.

    Raises:
        DataError: the data set was not found; the message names every place that was searched.
    """
    if name == "folder":
        return split_folder(root, SOUND_SUFFIXES, share=share, noun="sound", unread=UNREAD_SUFFIXES)
    if name == "webdataset":
        return split_shards(root, SOUND_SUFFIXES, share=share, noun="sound")
    find = _COLLECTIONS[name]
    fetchable = name != "fsdd"
    return open_data_set(
        name,
        root,
        download=download and fetchable,
        open_in=lambda folder, fetch: with_found(folder, find(folder, fetch, share)),
        way_out="data.download=true to fetch it" if fetchable else f"get it from {_FSDD_HOME}",
    )


def _fsdd(root: Path, download: bool, share: float) -> SplitFiles:
    """Free Spoken Digit Dataset: labels are digits, the first recordings of each digit and speaker the test split."""
    folder = root / "recordings" if (root / "recordings").is_dir() else root
    named = [(path, match) for path in sorted(folder.glob("*.wav")) if (match := _FSDD_FILE.fullmatch(path.stem))]
    if not named:
        raise ValueError("no recordings named {digit}_{speaker}_{index}.wav")
    train, test = (
        [(path, match["digit"]) for path, match in named if (int(match["index"]) < _FSDD_TEST_RECORDINGS) is tests]
        for tests in (False, True)
    )
    if not (train and test):
        raise ValueError(f"needs recordings numbered from 0 to {_FSDD_TEST_RECORDINGS} and more")
    return _labelled(train, test)


def _vctk(root: Path, download: bool, share: float) -> SplitFiles:
    """VCTK 0.92, with the second microphone as in torchaudio; labels are speakers."""
    from torchaudio import datasets

    datasets.VCTK_092(str(root), download=download)
    files = _find(root / "VCTK-Corpus-0.92" / "wav48_silence_trimmed", "*/*_mic2.flac")
    train, validation = hold_out(files, root, share, "sound", classes=[path.parent.name for path in files])
    return _by_folder([files[index] for index in train], [files[index] for index in validation])


def _speechcommands(root: Path, download: bool, share: float) -> SplitFiles:
    """Speech Commands 0.02 with its own lists of training and validation files; labels are words."""
    from torchaudio import datasets

    datasets.SPEECHCOMMANDS(root, download=download)
    listed = [datasets.SPEECHCOMMANDS(root, subset=subset) for subset in ("training", "validation")]
    train, validation = (
        [root / "SpeechCommands" / part.get_metadata(index)[0] for index in range(len(part))] for part in listed
    )
    if not (train and validation):
        raise ValueError(f"no sounds in {root / 'SpeechCommands'}")
    return _by_folder(train, validation)


def _ljspeech(root: Path, download: bool, share: float) -> SplitFiles:
    """LJ Speech: one speaker, no labels."""
    from torchaudio import datasets

    datasets.LJSPEECH(root, download=download)
    train, validation = _held_out(_find(root / "LJSpeech-1.1" / "wavs", "*.wav"), root, share)
    return SplitFiles(LabelledFiles(train), LabelledFiles(validation))


def _librispeech(root: Path, download: bool, share: float) -> SplitFiles:
    """LibriSpeech: train-clean-100 and, of other speakers, dev-clean; no labels."""
    from torchaudio import datasets

    for part in _LIBRISPEECH_PARTS:
        datasets.LIBRISPEECH(root, part, download=download)
    train, validation = (_find(root / "LibriSpeech" / part, "*/*/*.flac") for part in _LIBRISPEECH_PARTS)
    return SplitFiles(LabelledFiles(train), LabelledFiles(validation))


def _yesno(root: Path, download: bool, share: float) -> SplitFiles:
    """YesNo: sixty recordings of eight words each, no labels."""
    from torchaudio import datasets

    datasets.YESNO(root, download=download)
    train, validation = _held_out(_find(root / "waves_yesno", "*.wav"), root, share)
    return SplitFiles(LabelledFiles(train), LabelledFiles(validation))


def _find(folder: Path, pattern: str) -> list[Path]:
    files = sorted(folder.glob(pattern))
    if not files:
        raise ValueError(f"no {pattern} in {folder}")
    return files


def _held_out(files: list[Path], root: Path, share: float) -> tuple[list[Path], list[Path]]:
    train, validation = hold_out(files, root, share, "sound")
    return [files[index] for index in train], [files[index] for index in validation]


def _by_folder(train: list[Path], validation: list[Path]) -> SplitFiles:
    """Files labelled by the names of their folders."""
    named = [[(path, path.parent.name) for path in part] for part in (train, validation)]
    return _labelled(named[0], named[1])


def _labelled(train: list[tuple[Path, str]], validation: list[tuple[Path, str]]) -> SplitFiles:
    """Files with the names of their classes; classes without training files are left out."""
    classes = tuple(sorted({name for _, name in train}))
    numbers = {name: number for number, name in enumerate(classes)}
    parts = [[(path, numbers[name]) for path, name in part if name in numbers] for part in (train, validation)]
    labelled = [LabelledFiles([path for path, _ in part], [label for _, label in part]) for part in parts]
    return SplitFiles(labelled[0], labelled[1], classes)


_COLLECTIONS: Mapping[str, Callable[[Path, bool, float], SplitFiles]] = {
    "fsdd": _fsdd,
    "vctk": _vctk,
    "speechcommands": _speechcommands,
    "ljspeech": _ljspeech,
    "librispeech": _librispeech,
    "yesno": _yesno,
}
