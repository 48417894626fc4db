"""Sound data: folders and collections of sounds, the clips that are made of them, and the cache of clips."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import re
import socket
import tarfile
import threading
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchaudio import datasets as torchaudio_datasets

from anytime_audio.config import DataConfig
from anytime_audio.datasets import ClipForm, Clips, clips, load_datasets
from anytime_audio.datasets.clips import cached_clips
from anytime_audio.datasets.files import PreparedSound, prepare, read_clips
from anytime_audio.datasets.sources import find_files
from anytime_core.data.locations import DATA_VARIABLE
from anytime_core.data.user_files import LabelledFiles, SplitFiles
from anytime_core.errors import DataError
from anytime_core.modality import SampleDataset

RATE = 8000
FORM = ClipForm(rate=RATE, length=256, top_db=None)

STEP = 2.0**-15
"""One step of 16-bit sound."""


def noise(length: int, level: float = 0.5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-level, level, length).astype(np.float32)


def tone(length: int, rate: int = RATE, hertz: float = 440.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(length) / rate)).astype(np.float32)


def put(path: Path, sound: np.ndarray, rate: int = RATE, subtype: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound, rate, subtype=subtype)
    return path


def numbered(path: Path, number: int) -> Path:
    """A sound of 256 samples that `number_of` recognises after normalisation."""
    sound = np.zeros(256)
    sound[0], sound[1] = 0.5, 0.005 * number
    return put(path, sound)


def numbers(dataset: SampleDataset) -> list[int]:
    """The number of each `numbered` sound."""
    return [round(float(dataset[i]["x"][0, 1]) / 0.95 * 100) for i in range(len(dataset))]


def folder_config(root: Path, **changes: object) -> DataConfig:
    """A config for a folder of sounds; clips are kept beside it."""
    made = {"rate": RATE, "length": 256, "top_db": None, "cache": root.parent / "cache"}
    return DataConfig(name="folder", root=root, **{**made, **changes})


def strongest(sound: np.ndarray, rate: int) -> float:
    """The frequency at which a sound is strongest."""
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 8 * len(sound)))
    return float(np.argmax(spectrum)) * rate / (8 * len(sound))


# Clips of one file.


@settings(deadline=None, max_examples=60)
@given(
    total=st.integers(80, 3000),
    length=st.integers(64, 800),
    cut=st.sampled_from(["start", "all"]),
    peak=st.floats(0.1, 1.0),
)
def test_clips_are_the_normalised_sound_in_pieces_padded_at_the_end(total, length, cut, peak, tmp_path_factory):
    sound = noise(total)
    sound[7] = -0.8  # so the largest is in every cut
    path = put(tmp_path_factory.getbasetemp() / "sound.wav", sound, subtype="FLOAT")
    found = read_clips(path, ClipForm(rate=RATE, length=length, cut=cut, top_db=None, peak=peak))
    # The last piece is worth a clip if it is half full.
    number = max(1, int(total / length + 0.5)) if cut == "all" else 1
    assert found.shape == (number, length)
    assert found.dtype == np.float32
    assert np.abs(found).max() == pytest.approx(peak, rel=1e-6)
    kept = min(total, number * length)
    assert np.abs(found.flatten()[:kept] - sound[:kept] * peak / 0.8).max() < 1e-6
    assert not found.flatten()[kept:].any()


@pytest.mark.parametrize(
    ("total", "number"), [(100, 1), (256, 1), (383, 1), (384, 2), (512, 2), (639, 2), (640, 3), (2560, 10)]
)
def test_a_long_file_fills_as_many_clips_as_it_can(total, number, tmp_path):
    path = put(tmp_path / "sound.wav", noise(total))
    assert len(read_clips(path, ClipForm(rate=RATE, length=256, cut="all", top_db=None))) == number
    assert len(read_clips(path, FORM)) == 1


def test_the_peak_is_that_of_the_file_and_not_of_each_clip(tmp_path):
    path = put(tmp_path / "sound.wav", np.concatenate([noise(256, level=0.05), noise(256, level=0.5)]))
    quiet, loud = read_clips(path, ClipForm(rate=RATE, length=256, cut="all", top_db=None))
    assert np.abs(loud).max() == pytest.approx(0.95)
    assert np.abs(quiet).max() == pytest.approx(0.095, rel=0.05)


def padded_tone() -> np.ndarray:
    """Half a second of hiss, a second of tone, and half a second of hiss."""
    hiss = noise(4000, level=1e-3)
    return np.concatenate([hiss, tone(8000), hiss])


def test_what_is_far_below_the_peak_is_trimmed_at_both_ends(tmp_path):
    path = put(tmp_path / "sound.wav", padded_tone())
    found = read_clips(path, ClipForm(rate=RATE, length=12_000, top_db=30.0))[0]
    window = round(0.064 * RATE)
    assert np.abs(found[:window]).max() > 0.5, "the tone begins at once"
    assert np.count_nonzero(found) == pytest.approx(8000, abs=2 * window)
    assert not found[8000 + 2 * window :].any(), "silence fills the end"


@pytest.mark.parametrize("top_db", [None, 80.0])
def test_nothing_is_trimmed_where_that_is_not_wanted(top_db, tmp_path):
    path = put(tmp_path / "sound.wav", padded_tone(), subtype="FLOAT")
    found = read_clips(path, ClipForm(rate=RATE, length=16_000, top_db=top_db))[0]
    assert np.abs(found - padded_tone() * 0.95 / 0.5).max() < 1e-3


def test_a_pause_within_a_sound_stays(tmp_path):
    sound = np.concatenate([tone(2000), np.zeros(4000, np.float32), tone(2000)])
    found = read_clips(put(tmp_path / "sound.wav", sound), ClipForm(rate=RATE, length=8192))[0]
    assert np.abs(found[2500:5500]).max() < 1e-3
    assert np.abs(found[6200:7800]).max() > 0.9


@pytest.mark.parametrize("rate", [4000, 8000, 22_050, 44_100, 192_000])
def test_resampling_keeps_the_pitch(rate, tmp_path):
    path = put(tmp_path / "sound.wav", tone(rate // 2, rate), rate)
    found = read_clips(path, ClipForm(rate=RATE, length=4096))[0]
    assert strongest(found[:4000], RATE) == pytest.approx(440, abs=1)
    assert np.count_nonzero(np.abs(found) > 0.01) == pytest.approx(4000, rel=0.05)


def test_the_sides_of_a_stereo_file_are_mixed(tmp_path):
    sides = np.stack([tone(4096, hertz=500, level=0.4), tone(4096, hertz=1500, level=0.2)], axis=1)
    found = read_clips(put(tmp_path / "sound.wav", sides), ClipForm(rate=RATE, length=4096))[0]
    spectrum = np.abs(np.fft.rfft(found))
    assert spectrum[256] == pytest.approx(2 * spectrum[768], rel=0.01)
    assert np.abs(found).max() == pytest.approx(0.95)


# Folders of sounds.


def test_a_folder_of_unlike_sounds_becomes_clips_of_one_form(tmp_path):
    root = tmp_path / "sounds"
    made = [
        put(root / "a.wav", tone(22_050, 44_100), 44_100),
        put(root / "b.WAV", tone(4000), subtype="PCM_U8"),
        put(root / "c.flac", tone(48_000, 96_000), 96_000, subtype="PCM_24"),
        put(root / "d.wav", np.stack([tone(4000)] * 6, axis=1), subtype="PCM_24"),
        put(root / "deeper" / "e.wav", tone(96_000, 192_000, level=7.0), 192_000, subtype="FLOAT"),
        put(root / "f.ogg", tone(8000, 16_000), 16_000),
    ]
    (root / "notes.txt").write_text("no sound, and nobody minds")
    data = load_datasets(folder_config(root, length=4096, top_db=30.0))
    assert len(data.train) + len(data.validation) == len(made)
    assert data.classes == ()
    for part in (data.train, data.validation):
        assert len(part) > 0
        for index in range(len(part)):
            x = part[index]["x"]
            assert x.shape == (1, 4096)
            assert x.dtype == torch.float32
            assert float(x.abs().max()) == pytest.approx(0.95, abs=STEP)
            assert strongest(x[0, :3900].numpy(), RATE) == pytest.approx(440, abs=2)


def test_class_folders_become_labels_that_stay_with_every_clip_of_a_file(tmp_path):
    root = tmp_path / "sounds"
    for number in range(12):
        place = root / "train" / ("high" if number % 2 else "low")
        # 1, 2 or 3 clips each.
        put(place / f"{number:02d}.wav", tone(1024 * (1 + number % 3), hertz=1000 if number % 2 else 250))
    (root / "train" / "high" / "05.wav").write_bytes(b"damaged")
    put(root / "test" / "high" / "a.wav", tone(1024, hertz=1000))
    put(root / "test" / "low" / "b.wav", tone(1024, hertz=250))
    data = load_datasets(folder_config(root, cut="all", length=1024))
    assert data.classes == ("high", "low")
    assert data.found.notes[1:] == ("23 clips come from 13 sounds",)
    assert len(data.train) == 24 - 3
    assert len(data.validation) == 2
    for part in (data.train, data.validation):
        for index in range(len(part)):
            item = part[index]
            high = strongest(item["x"][0].numpy(), RATE) > 500
            assert data.classes[item["label"]] == ("high" if high else "low")


def test_what_was_found_comes_with_the_data_and_their_rates(tmp_path):
    root = tmp_path / "sounds"
    for name, rate in {"train/a/0": 8000, "train/a/1": 44_100, "train/b/0": 8000, "dev/b/0": 16_000}.items():
        put(root / f"{name}.wav", tone(4000), rate)
    (root / "train" / "a" / "0.m4a").write_bytes(b"sound")
    found = load_datasets(folder_config(root)).found
    assert found.forms == {"8000 Hz": 2, "44100 Hz": 1}
    assert found.classes == {"a": (2, 0), "b": (1, 1)}
    assert found.notes[0] == "train/ is trained on, dev/ is held out"
    assert [(entry.reason, entry.way_out) for entry in found.passed_over] == [
        ("files with suffix .m4a, which is not read", "convert them to FLAC or WAV, for example with ffmpeg")
    ]


def test_rows_of_a_batch_are_the_items(tmp_path):
    for number in range(20):
        numbered(tmp_path / "sounds" / "ab"[number % 2] / f"{number:02d}.wav", number)
    train = load_datasets(folder_config(tmp_path / "sounds")).train
    for indices in ([5, 0, 7, 5], (3, 1), range(4), [2]):
        batch = train.batch(indices)  # type: ignore[attr-defined]
        assert batch["x"].shape == (len(indices), 1, 256)
        for row, index in enumerate(indices):
            item = train[index]
            assert item.keys() == batch.keys() == {"x", "label"}
            assert torch.equal(batch["x"][row], item["x"])
            assert batch["label"][row] == item["label"]


def test_iterating_over_clips_ends_after_the_last(tmp_path):
    for number in range(5):
        numbered(tmp_path / "sounds" / f"{number}.wav", number)
    train = load_datasets(folder_config(tmp_path / "sounds")).train
    assert len(list(train)) == len(train)  # type: ignore[call-overload]
    assert train[0].keys() == {"x"}


def test_every_sound_is_in_one_part_and_adding_more_moves_none(tmp_path):
    def parts(count: int) -> tuple[set[int], set[int]]:
        for number in range(count):
            numbered(tmp_path / "sounds" / f"{number:03d}.wav", number)
        data = load_datasets(folder_config(tmp_path / "sounds", validation_share=0.3))
        train, validation = numbers(data.train), numbers(data.validation)
        assert sorted(train + validation) == list(range(count))
        return set(train), set(validation)

    train, validation = parts(20)
    more_train, more_validation = parts(60)
    assert train < more_train
    assert validation < more_validation


DAMAGED: Mapping[str, Callable[[Path], object]] = {
    "text.wav": lambda path: path.write_bytes(b"this is no sound\n" * 20),
    "empty.wav": lambda path: path.write_bytes(b""),
    "no-samples.wav": lambda path: put(path, noise(0)),
    "one-sample.wav": lambda path: put(path, noise(1)),
    "silence.wav": lambda path: put(path, np.zeros(1000)),
    "nan.wav": lambda path: put(path, np.full(1000, np.nan), subtype="FLOAT"),
    "half.flac": lambda path: path.write_bytes(put(path, noise(8000)).read_bytes()[:5000]),
    "text.mp3": lambda path: path.write_bytes(b"this is no sound\n" * 20),
}


@pytest.mark.parametrize(
    ("cut", "expected"),
    [
        (
            "start",
            "4 sounds made clips of 0.032 s (data.length=256, data.rate=8000); 2 cut (data.cut), 58 % of what is left "
            "on average; 1 padded with silence, 50 % of the clips on average",
        ),
        (
            "all",
            "4 sounds made clips of 0.032 s (data.length=256, data.rate=8000); 1 cut (data.cut), 17 % of what is left "
            "on average; 1 padded with silence, 50 % of the clips on average",
        ),
    ],
)
def test_how_much_of_sounds_is_cut_and_padded_is_said_with_numbers(cut, expected, tmp_path):
    for number, length in enumerate((128, 512, 256)):
        put(tmp_path / "sounds" / "train" / f"{number}.wav", tone(length))
    put(tmp_path / "sounds" / "test" / "a.wav", tone(768 if cut == "start" else 307))
    for _ in range(2):  # made, and read from the cache
        assert expected in load_datasets(folder_config(tmp_path / "sounds", cut=cut)).found.notes


def test_silence_that_is_trimmed_is_said_with_numbers(tmp_path):
    for name in ("train/a.wav", "train/b.wav", "test/c.wav"):
        put(tmp_path / "sounds" / name, np.concatenate([np.zeros(4096, np.float32), tone(4096)]))
    found = load_datasets(folder_config(tmp_path / "sounds", top_db=30.0, length=4096)).found
    assert any("; silence trimmed off 3 (data.top_db), 49 % of the sound" in note for note in found.notes), found.notes


def test_files_that_cannot_be_used_are_left_out_named_and_counted_once(tmp_path, caplog):
    root = tmp_path / "sounds"
    for number in range(30):
        numbered(root / "train" / f"{number:02d}.wav", number)
    numbered(root / "test" / "good.wav", 99)
    for name, damage in DAMAGED.items():
        damage(root / "train" / name)
    data = load_datasets(folder_config(root))
    assert sorted(numbers(data.train)) == list(range(30))
    assert numbers(data.validation) == [99]
    named = sorted(DAMAGED.keys() - {"empty.wav"})  # which is passed over before it is read
    assert data.found is not None
    assert (data.found.train, data.found.validation) == (30, 1)
    empty, left_out = data.found.passed_over
    assert (empty.reason, empty.count) == ("empty sounds", 1)
    assert left_out.count == len(named)
    assert len(left_out.examples) == 5
    assert all(str(root / "train" / name) in text for name, text in zip(named, left_out.examples, strict=False))
    assert load_datasets(folder_config(root)).found == data.found, "clips of the cache are spoken of alike"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING], "which would say it again"


def nowhere_folder(root: Path) -> None:
    pass


def empty_folder(root: Path) -> None:
    root.mkdir()
    (root / "notes.txt").write_text("no sound")


def file_instead_of_folder(root: Path) -> None:
    put(root.with_suffix(".wav"), noise(100)).rename(root)


def single_sound(root: Path) -> None:
    put(root / "only.wav", noise(100))


def nothing_usable(root: Path) -> None:
    root.mkdir()
    for name, damage in DAMAGED.items():
        damage(root / name)


def nothing_usable_for_validation(root: Path) -> None:
    put(root / "train" / "a.wav", noise(256))
    (root / "test").mkdir()
    (root / "test" / "b.wav").write_bytes(b"damaged")


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (nowhere_folder, "not a folder"),
        (empty_folder, r"no sounds in .*\.wav"),
        (file_instead_of_folder, "not a folder"),
        (single_sound, "the only sound"),
        (nothing_usable, "none of the . sounds of a part can be used"),
        (nothing_usable_for_validation, "none of the 1 sound of a part can be used"),
    ],
)
def test_a_folder_without_enough_sounds_is_an_error_that_names_it(prepare, reason, tmp_path):
    root = tmp_path / "sounds"
    prepare(root)
    with pytest.raises(DataError, match=reason) as error:
        load_datasets(folder_config(root))
    assert str(root) in str(error.value)


def test_a_folder_that_is_not_given_is_asked_for():
    with pytest.raises(DataError, match=r"data\.root"):
        load_datasets(DataConfig(name="folder"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_left_out_and_named(tmp_path):
    root = tmp_path / "sounds"
    for number in range(3):
        numbered(root / "train" / f"{number}.wav", number)
    numbered(root / "test" / "good.wav", 9)
    (root / "train" / "1.wav").chmod(0)
    data = load_datasets(folder_config(root))
    assert numbers(data.train) == [0, 2]
    assert re.search(r"1\.wav cannot be read: Permission denied", data.found.passed_over[0].examples[0])


# The cache of clips.


@pytest.fixture
def source(tmp_path) -> LabelledFiles:
    """Six files of three classes."""
    files = [numbered(tmp_path / "sounds" / f"{number}.wav", number) for number in range(6)]
    return LabelledFiles(files, [number % 3 for number in range(6)])


@pytest.fixture
def store(tmp_path) -> Path:
    return tmp_path / "cache"


def caches(store: Path) -> set[str]:
    """Names of the whole caches; nothing half made or temporary may lie beside them."""
    names = {path.name for path in store.iterdir() if path.is_dir()}
    for name in names:
        assert {path.name for path in (store / name).iterdir()} == {"clips.int16", "index.json"}
    rest = {path.name for path in store.iterdir()} - names
    assert all(name.endswith(".lock") for name in rest), rest
    return names


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Names of the files that are decoded, as they are."""
    names: list[str] = []

    def watched(path: Path, *arguments: Any) -> PreparedSound:
        names.append(path.name)
        return prepare(path, *arguments)

    monkeypatch.setattr(clips, "prepare", watched)
    return names


def test_files_are_decoded_once(source, store, decoded):
    first = cached_clips(source, FORM, store, "sounds")
    assert sorted(decoded) == [f"{number}.wav" for number in range(6)]
    decoded.clear()
    again = cached_clips(source, FORM, store, "sounds")
    assert not decoded
    assert numbers(first) == numbers(again) == list(range(6))
    assert [again[i]["label"] for i in range(6)] == [0, 1, 2, 0, 1, 2]
    assert len(caches(store)) == 1


def test_clips_are_kept_as_they_were_prepared(source, store):
    found = cached_clips(source, FORM, store, "sounds").batch(range(6))["x"]
    expected = np.stack([read_clips(path, FORM) for path in source.files])
    assert np.abs(found.numpy() - expected).max() <= 0.5 / Clips.FULL_SCALE + 1e-7


def test_loading_a_folder_again_decodes_nothing(source, tmp_path, decoded):
    config = folder_config(tmp_path / "sounds")
    first = load_datasets(config)
    decoded.clear()
    again = load_datasets(config)
    assert not decoded
    assert numbers(again.train) == numbers(first.train)
    assert numbers(again.validation) == numbers(first.validation)


def test_labels_follow_the_source_and_not_the_cache(source, store, decoded):
    cached_clips(source, FORM, store, "sounds")
    decoded.clear()
    renamed = cached_clips(LabelledFiles(source.files, [5, 4, 3, 2, 1, 0]), FORM, store, "sounds")
    assert renamed.labels.tolist() == [5, 4, 3, 2, 1, 0]
    assert cached_clips(LabelledFiles(source.files), FORM, store, "sounds").labels is None
    assert not decoded


@pytest.mark.parametrize(
    "form",
    [
        ClipForm(rate=4000, length=256, top_db=None),
        ClipForm(rate=RATE, length=128, top_db=None),
        ClipForm(rate=RATE, length=256, top_db=None, cut="all"),
        ClipForm(rate=RATE, length=256, top_db=40.0),
        ClipForm(rate=RATE, length=256, top_db=None, peak=0.5),
    ],
    ids=["rate", "length", "cut", "top_db", "peak"],
)
def test_other_options_have_a_cache_of_their_own(form, source, store, decoded):
    kept = cached_clips(source, FORM, store, "sounds")
    other = cached_clips(source, form, store, "sounds")
    assert len(decoded) == 12
    assert other[0]["x"].shape == (1, form.length)
    assert float(other[0]["x"].abs().max()) == pytest.approx(form.peak, abs=STEP)
    assert numbers(kept) == list(range(6))
    assert len(caches(store)) == 2


def touch(files: list[Path]) -> None:
    status = files[2].stat()
    os.utime(files[2], ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))


def replace(files: list[Path]) -> None:
    status = files[2].stat()
    put(files[2], noise(300))
    os.utime(files[2], ns=(status.st_atime_ns, status.st_mtime_ns))


def rename(files: list[Path]) -> None:
    files[2] = files[2].rename(files[2].with_name("other.wav"))


def add(files: list[Path]) -> None:
    files.append(numbered(files[0].with_name("more.wav"), 77))


def remove(files: list[Path]) -> None:
    files.pop(2)


def reorder(files: list[Path]) -> None:
    files.reverse()


@pytest.mark.parametrize("change", [touch, replace, rename, add, remove, reorder])
def test_changed_files_are_decoded_anew(change, source, store, decoded):
    cached_clips(source, FORM, store, "sounds")
    decoded.clear()
    files = list(source.files)
    change(files)
    found = cached_clips(LabelledFiles(files), FORM, store, "sounds").batch(range(len(files)))["x"]
    assert len(decoded) == len(files)
    expected = np.stack([read_clips(path, FORM) for path in files])
    assert np.abs(found.numpy() - expected).max() <= STEP
    assert len(caches(store)) == 2


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def swap_files(path: Path) -> None:
    index = json.loads(path.read_text())
    path.write_text(json.dumps({**index, "file": index["file"][::-1]}))


def name_missing_file(path: Path) -> None:
    index = json.loads(path.read_text())
    path.write_text(json.dumps({**index, "file": [*index["file"][:-1], 9]}))


DAMAGES: Mapping[str, Callable[[Path], object]] = {
    "no-clips": lambda place: (place / "clips.int16").unlink(),
    "empty-clips": lambda place: (place / "clips.int16").write_bytes(b""),
    "truncated-clips": lambda place: os.truncate(place / "clips.int16", 1000),
    "longer-clips": lambda place: os.truncate(place / "clips.int16", 6 * 512 + 512),
    "flipped-bit": lambda place: flip(place / "clips.int16", 1300),
    "flipped-last-bit": lambda place: flip(place / "clips.int16", -1),
    "no-index": lambda place: (place / "index.json").unlink(),
    "empty-index": lambda place: (place / "index.json").write_bytes(b""),
    "half-an-index": lambda place: os.truncate(place / "index.json", 20),
    "garbage-index": lambda place: (place / "index.json").write_bytes(b"\xff\x00\xfe garbage"),
    "list-for-index": lambda place: (place / "index.json").write_text("[1, 2, 3]"),
    "other-index": lambda place: (place / "index.json").write_text('{"file": 6, "checksum": null}'),
    "index-of-swapped-files": lambda place: swap_files(place / "index.json"),
    "index-of-a-missing-file": lambda place: name_missing_file(place / "index.json"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_made_again_with_a_warning(damage, source, store, decoded, caplog):
    cached_clips(source, FORM, store, "sounds")
    (name,) = caches(store)
    DAMAGES[damage](store / name)
    decoded.clear()
    found = cached_clips(source, FORM, store, "sounds")
    assert numbers(found) == list(range(6))
    assert [found[i]["label"] for i in range(6)] == [0, 1, 2, 0, 1, 2]
    assert len(decoded) == 6
    assert str(store / name) in caplog.text
    assert "damaged" in caplog.text
    assert caches(store) == {name}
    decoded.clear()
    cached_clips(source, FORM, store, "sounds")
    assert not decoded


class FullDisk(io.BytesIO):
    """A file that can be opened and takes no bytes."""

    def write(self, data: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture(params=["clips.int16", "index.json"])
def full_disk(request, monkeypatch) -> Iterator[None]:
    """The disk is full when the file of this name is written, under its own or a temporary name."""
    opened = io.open

    def refuse(file: object, mode: str = "r", *arguments: object, **keywords: object) -> object:
        if isinstance(file, str | os.PathLike) and os.fspath(file).endswith(request.param) and "w" in mode:
            if "b" in mode:
                return FullDisk()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(file))
        return opened(file, mode, *arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(io, "open", refuse)
        yield


def test_a_disk_that_is_full_is_an_error_that_says_where_clips_can_be_kept_instead(source, store, full_disk):
    with pytest.raises(DataError) as error:
        cached_clips(source, FORM, store, "sounds")
    for part in (str(store), "No space left on device", "data.cache="):
        assert part in str(error.value)
    assert "partial" not in str(error.value)
    assert not caches(store)


def test_after_the_disk_was_full_the_cache_can_be_made(source, store, monkeypatch, decoded):
    with monkeypatch.context() as patch:
        patch.setattr(clips, "write_json", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space")))
        with pytest.raises(DataError, match=r"data\.cache="):
            cached_clips(source, FORM, store, "sounds")
    decoded.clear()
    assert numbers(cached_clips(source, FORM, store, "sounds")) == list(range(6))
    assert len(decoded) == 6


def test_an_interrupt_leaves_nothing_half_made(source, store, monkeypatch):
    def interrupt(path: Path, *arguments: Any) -> PreparedSound:
        if path == source.files[3]:
            raise KeyboardInterrupt
        return prepare(path, *arguments)

    monkeypatch.setattr(clips, "prepare", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cached_clips(source, FORM, store, "sounds")
    assert not caches(store)


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_cache_that_cannot_be_a_folder_is_an_error_that_says_which_option_to_set(place, source, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"data\.cache=") as error:
        cached_clips(source, FORM, tmp_path / place, "sounds")
    assert str(tmp_path / place) in str(error.value)


def test_nothing_is_kept_where_no_file_can_be_used(tmp_path, store):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"none of the 2 sounds of a part can be used: .*bad\.wav"):
        cached_clips(LabelledFiles([bad, tmp_path / "missing.wav"]), FORM, store, "sounds")
    assert not caches(store)


def test_two_that_need_the_same_cache_at_once_make_it_once_and_get_the_same(source, store, monkeypatch):
    decoded: list[str] = []
    both_are_there = threading.Barrier(2)

    def slow(path: Path, *arguments: Any) -> PreparedSound:
        decoded.append(path.name)
        return prepare(path, *arguments)

    monkeypatch.setattr(clips, "prepare", slow)
    found: list[Clips] = []

    def load() -> None:
        both_are_there.wait()
        found.append(cached_clips(source, FORM, store, "sounds"))

    threads = [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [numbers(one) for one in found] == [list(range(6))] * 2
    assert len(decoded) == 6, "the second waits for the first"
    assert len(caches(store)) == 1


def test_clips_are_kept_in_the_users_cache_where_nothing_else_is_said(source, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home-cache"))
    load_datasets(folder_config(tmp_path / "sounds", cache=None))
    names = caches(tmp_path / "home-cache" / "anytime" / "clips")
    assert len(names) == 2
    assert all(name.startswith("folder-") for name in names)


def test_a_cache_below_the_home_folder_can_be_named_with_a_tilde(source, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    load_datasets(folder_config(tmp_path / "sounds", cache=Path("~/clips")))
    assert len(caches(tmp_path / "home" / "clips")) == 2
    assert not (tmp_path / "~").exists()


# Collections.


@pytest.fixture
def nowhere(tmp_path, monkeypatch) -> Path:
    """A machine without any data set or network: empty home, store and working directory."""

    def no_network(*arguments: object, **keywords: object) -> None:
        pytest.fail("the network was used")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "store"))
    return tmp_path


def found(name: str, root: Path | None, *, download: bool = False, share: float = 0.25) -> SplitFiles:
    return find_files(name, root, download=download, share=share)


def names_of(part: LabelledFiles, root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in part.files]


def write_fsdd(root: Path) -> None:
    for digit in range(10):
        for speaker in ("jackson", "theo"):
            for index in (0, 4, 5):
                numbered(root / "recordings" / f"{digit}_{speaker}_{index}.wav", digit)


def write_vctk(root: Path) -> None:
    corpus = root / "VCTK-Corpus-0.92"
    for speaker in ("p225", "p226", "p227"):
        for utterance in range(1, 5):
            name = f"{speaker}_{utterance:03d}"
            (corpus / "txt" / speaker).mkdir(parents=True, exist_ok=True)
            (corpus / "txt" / speaker / f"{name}.txt").write_text("Please call Stella.\n")
            for microphone in ("mic1", "mic2"):
                numbered(corpus / "wav48_silence_trimmed" / speaker / f"{name}_{microphone}.flac", utterance)


def write_speechcommands(root: Path) -> None:
    folder = root / "SpeechCommands" / "speech_commands_v0.02"
    for word in ("yes", "no", "bed"):
        for speaker in range(5):
            numbered(folder / word / f"speaker{speaker}_nohash_0.wav", speaker)
    numbered(folder / "_background_noise_" / "pink_noise.wav", 9)
    (folder / "validation_list.txt").write_text("yes/speaker3_nohash_0.wav\nno/speaker3_nohash_0.wav\n")
    (folder / "testing_list.txt").write_text("yes/speaker4_nohash_0.wav\nbed/speaker4_nohash_0.wav\n")


def write_ljspeech(root: Path) -> None:
    for number in range(1, 9):
        numbered(root / "LJSpeech-1.1" / "wavs" / f"LJ001-{number:04d}.wav", number)
    (root / "LJSpeech-1.1" / "metadata.csv").write_text("LJ001-0001|Printing, in|Printing, in\n")


def write_librispeech(root: Path) -> None:
    for part, speaker in (("train-clean-100", 103), ("dev-clean", 1272)):
        chapter = root / "LibriSpeech" / part / str(speaker) / "1240"
        for number in range(4):
            numbered(chapter / f"{speaker}-1240-{number:04d}.flac", number)
        (chapter / f"{speaker}-1240.trans.txt").write_text(f"{speaker}-1240-0000 CHAPTER ONE\n")


def write_yesno(root: Path) -> None:
    for number in range(8):
        numbered(root / "waves_yesno" / f"{'_'.join(f'{number:08b}')}.wav", number)


WRITERS: Mapping[str, Callable[[Path], None]] = {
    "fsdd": write_fsdd,
    "vctk": write_vctk,
    "speechcommands": write_speechcommands,
    "ljspeech": write_ljspeech,
    "librispeech": write_librispeech,
    "yesno": write_yesno,
}
COLLECTIONS = pytest.mark.parametrize("name", WRITERS)
SIZES: Mapping[str, int] = {"fsdd": 60, "vctk": 12, "speechcommands": 13, "ljspeech": 8, "librispeech": 8, "yesno": 8}


def test_every_collection_that_configs_can_name_is_tried_here():
    (names,) = (field.annotation.__args__ for key, field in DataConfig.model_fields.items() if key == "name")
    assert {*names} == {*WRITERS, "plucks", "folder", "webdataset"}


@COLLECTIONS
def test_a_collection_becomes_disjoint_parts_of_readable_files(name, nowhere):
    WRITERS[name](nowhere / "root")
    split = found(name, nowhere / "root")
    train, validation = set(split.train.files), set(split.validation.files)
    assert train
    assert validation
    assert not train & validation
    assert len(train) + len(validation) == len(split.train.files) + len(split.validation.files) == SIZES[name]
    assert all(path.is_file() for path in train | validation)
    for part in (split.train, split.validation):
        if split.classes:
            assert len(part.labels) == len(part.files)
            assert {*part.labels} <= set(range(len(split.classes)))
        else:
            assert part.labels is None


@COLLECTIONS
def test_a_collection_is_loaded_as_clips_with_the_labels_of_their_files(name, nowhere):
    WRITERS[name](nowhere / "root")
    data = load_datasets(DataConfig(name=name, root=nowhere / "root", length=256, top_db=None))
    split = found(name, nowhere / "root", share=0.1)
    assert data.classes == split.classes
    for part, files in ((data.train, split.train), (data.validation, split.validation)):
        assert len(part) == len(files.files)
        assert part[0]["x"].shape == (1, 256)
        assert [part[i].get("label") for i in range(len(part))] == (files.labels or [None] * len(part))


def test_spoken_digits_are_labelled_and_their_first_five_recordings_kept_for_validation(nowhere):
    write_fsdd(nowhere / "root")
    split = found("fsdd", nowhere / "root")
    assert split.classes == tuple("0123456789")
    for part, indices in ((split.train, {5}), (split.validation, {0, 4})):
        named = [path.stem.split("_") for path in part.files]
        assert part.labels == [int(digit) for digit, _, _ in named]
        assert {int(index) for _, _, index in named} == indices
        assert {speaker for _, speaker, _ in named} == {"jackson", "theo"}


def test_spoken_digits_may_lie_without_their_repository_and_beside_other_files(nowhere):
    write_fsdd(nowhere / "repository")
    folder = nowhere / "repository" / "recordings"
    for name in ("notes.wav", "ten_theo_0.wav", "10_theo_0.wav", "3_theo.wav"):
        put(folder / name, noise(100))
    inner, outer = found("fsdd", folder), found("fsdd", folder.parent)
    assert (inner.train, inner.validation) == (outer.train, outer.validation)
    assert len(inner.train.files) + len(inner.validation.files) == 60


@pytest.mark.parametrize("missing", ["*_[01234].wav", "*_5.wav", "*.wav"])
def test_spoken_digits_without_one_of_the_parts_are_an_error_that_names_the_folder(missing, nowhere):
    write_fsdd(nowhere / "root")
    for path in (nowhere / "root" / "recordings").glob(missing):
        path.unlink()
    with pytest.raises(DataError, match=r"'fsdd' not found in root .*recordings"):
        found("fsdd", nowhere / "root")


def test_speakers_of_vctk_are_labels_and_one_microphone_is_taken(nowhere):
    write_vctk(nowhere / "root")
    split = found("vctk", nowhere / "root")
    assert split.classes == ("p225", "p226", "p227")
    for part in (split.train, split.validation):
        assert [split.classes[label] for label in part.labels] == [path.parent.name for path in part.files]
        assert all(path.name.endswith("_mic2.flac") for path in part.files)


def test_of_every_speaker_something_is_trained_on(nowhere):
    write_vctk(nowhere / "root")
    split = found("vctk", nowhere / "root", share=0.9)
    assert split.classes == ("p225", "p226", "p227")
    assert all(count.train == 1 for count in split.found.classes.values())


def test_words_are_labels_and_the_lists_of_speech_commands_its_parts(nowhere):
    write_speechcommands(nowhere / "root")
    split = found("speechcommands", nowhere / "root")
    folder = nowhere / "root" / "SpeechCommands" / "speech_commands_v0.02"
    assert split.classes == ("bed", "no", "yes")
    assert sorted(names_of(split.validation, folder)) == ["no/speaker3_nohash_0.wav", "yes/speaker3_nohash_0.wav"]
    tested = {"yes/speaker4_nohash_0.wav", "bed/speaker4_nohash_0.wav"}
    everything = {f"{word}/speaker{speaker}_nohash_0.wav" for word in split.classes for speaker in range(5)}
    assert {*names_of(split.train, folder)} == everything - tested - {*names_of(split.validation, folder)}
    for part in (split.train, split.validation):
        assert [split.classes[label] for label in part.labels] == [path.parent.name for path in part.files]


def test_parts_of_librispeech_are_its_own(nowhere):
    write_librispeech(nowhere / "root")
    split = found("librispeech", nowhere / "root")
    root = nowhere / "root" / "LibriSpeech"
    train, validation = names_of(split.train, root), names_of(split.validation, root)
    assert train == [f"train-clean-100/103/1240/103-1240-{number:04d}.flac" for number in range(4)]
    assert validation == [f"dev-clean/1272/1240/1272-1240-{number:04d}.flac" for number in range(4)]


def test_what_lies_in_a_collection_is_said_and_a_word_that_is_only_held_out_is_no_class(nowhere):
    write_speechcommands(nowhere / "root")
    listed = nowhere / "root" / "SpeechCommands" / "speech_commands_v0.02" / "validation_list.txt"
    listed.write_text(listed.read_text() + "".join(f"bed/speaker{number}_nohash_0.wav\n" for number in range(4)))
    split = found("speechcommands", nowhere / "root")
    assert split.classes == ("no", "yes")
    assert split.found.root == nowhere / "root"
    assert split.found.classes == {"no": (4, 1), "yes": (3, 1)}
    assert (split.found.train, split.found.validation) == (7, 2)
    assert len(split.found.digest) == 64


@COLLECTIONS
def test_a_missing_collection_says_where_it_was_looked_for_and_what_to_set(name, nowhere):
    with pytest.raises(DataError) as error:
        load_datasets(DataConfig(name=name))
    places = [Path("store") / name, Path("data") / name, Path("home/.cache/anytime") / name]
    for part in (f"'{name}'", "data.root", *map(str, places)):
        assert part in str(error.value)
    can_be_downloaded = name != "fsdd"
    assert ("data.download=true" in str(error.value)) == can_be_downloaded


@COLLECTIONS
def test_an_empty_folder_is_named_and_nothing_is_downloaded_into_it(name, nowhere):
    (nowhere / "given").mkdir()
    with pytest.raises(DataError, match="not found in given "):
        load_datasets(DataConfig(name=name, root=nowhere / "given"))
    assert not list((nowhere / "given").iterdir())


@COLLECTIONS
def test_a_collection_whose_sounds_are_gone_is_named_with_its_place(name, nowhere):
    WRITERS[name](nowhere / "store" / name)
    for path in [*(nowhere / "store").rglob("*.wav"), *(nowhere / "store").rglob("*.flac")]:
        path.unlink()
    with pytest.raises(DataError, match=re.escape(f"not found in store/{name}, ")):
        load_datasets(DataConfig(name=name))


@COLLECTIONS
def test_a_collection_in_one_usual_place_is_not_missed_for_a_broken_one_in_another(name, nowhere):
    (nowhere / "store" / name).mkdir(parents=True)
    WRITERS[name](nowhere / "home" / ".cache" / "anytime" / name)
    assert found(name, None).train.files[0].is_relative_to(nowhere / "home")


def test_speech_commands_without_their_lists_are_an_error_that_names_the_missing_one(nowhere):
    write_speechcommands(nowhere / "root")
    (nowhere / "root" / "SpeechCommands" / "speech_commands_v0.02" / "testing_list.txt").unlink()
    with pytest.raises(DataError, match=r"testing_list\.txt"):
        found("speechcommands", nowhere / "root")


def test_spoken_digits_cannot_be_downloaded_and_say_where_to_get_them(nowhere):
    with pytest.raises(DataError, match=r"get it from .*github\.com/Jakobovski") as error:
        load_datasets(DataConfig(name="fsdd", download=True))
    assert "data.download=true" not in str(error.value), "that is what was done"


@pytest.mark.parametrize("root", [None, "chosen"])
def test_a_download_goes_into_the_chosen_folder_or_the_users_cache_and_is_done_once(root, nowhere, monkeypatch):
    write_yesno(nowhere / "origin")
    fetched: list[str] = []

    def fetch(url: str, archive: Path, hash_prefix: str) -> None:
        fetched.append(url)
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(nowhere / "origin" / "waves_yesno", "waves_yesno")

    monkeypatch.setattr(torchaudio_datasets.yesno, "download_url_to_file", fetch)
    place = nowhere / root if root else nowhere / "home" / ".cache" / "anytime" / "yesno"
    for _ in range(2):
        split = found("yesno", nowhere / root if root else None, download=True)
        assert len(split.train.files) + len(split.validation.files) == 8
        assert split.train.files[0].is_relative_to(place)
    assert len(fetched) == 1
