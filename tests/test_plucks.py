"""Synthesised plucked strings: the same in every call, in tune with their labels, and different in the two parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anytime_audio.config import DataConfig
from anytime_audio.datasets import clip_form, load_datasets
from anytime_audio.datasets.files import ClipForm
from anytime_audio.datasets.plucks import PITCH_CLASSES, pluck, synthesise
from anytime_core.modality import Datasets

FORM = ClipForm(rate=8000, length=2048)

C4 = 261.626  # Hz


def fundamental(sound: np.ndarray, rate: int) -> float:
    """The frequency of the strongest repetition between 110 and 600 Hz, or an octave of it."""
    spectrum = np.fft.rfft(sound, 2 * len(sound))
    likeness = np.fft.irfft(np.abs(spectrum) ** 2)[: len(sound)]
    likeness /= np.arange(len(sound), 0, -1)
    lag = int(rate / 600) + int(np.argmax(likeness[int(rate / 600) : int(rate / 110)]))
    before, here, after = likeness[lag - 1 : lag + 2]
    return rate / (lag + (before - after) / (2 * (before - 2 * here + after)))


def cents_off(frequency: float, pitch_class: int) -> float:
    """How far a frequency is from the nearest tone of a pitch class, whatever the octave."""
    cents = 1200 * np.log2(frequency / C4) - 100 * pitch_class
    return float((cents + 600) % 1200 - 600)


@pytest.mark.parametrize(
    ("frequency", "pitch_class", "cents"),
    [(440.0, 9, 0.0), (220.0, 9, 0.0), (C4, 0, 0.0), (C4 * 2 ** (11 / 12), 0, -100.0), (466.16, 9, 100.0)],
)
def test_the_ruler_of_the_tests_below_knows_pitch_classes(frequency, pitch_class, cents):
    sound = np.sin(2 * np.pi * frequency * np.arange(2048) / 8000)
    assert cents_off(frequency, pitch_class) == pytest.approx(cents, abs=0.2)
    assert cents_off(fundamental(sound, 8000), pitch_class) == pytest.approx(cents, abs=3)


@pytest.mark.parametrize("form", [FORM, ClipForm(rate=16_000, length=4096)], ids=["8kHz", "16kHz"])
def test_each_pluck_sounds_the_pitch_class_of_its_label(form):
    clips = synthesise(range(96), form)
    off = [
        cents_off(fundamental(clips.clips[index].astype(float), form.rate), int(clips.labels[index]))
        for index in range(96)
    ]
    wrong = {index: round(cents) for index, cents in enumerate(off) if abs(cents) > 40}
    assert not wrong, f"cents by which plucks are out of tune: {wrong}"
    assert abs(np.mean(off)) < 10, "the strings as a whole are in tune"


def test_labels_name_the_twelve_pitch_classes_in_turn():
    assert len(PITCH_CLASSES) == 12
    assert PITCH_CLASSES[0] == "C"
    assert PITCH_CLASSES[9] == "A"
    clips = synthesise(range(30, 60), FORM)
    assert clips.labels.dtype == torch.int64
    assert clips.labels.tolist() == [index % 12 for index in range(30, 60)]
    assert [clips[i]["label"] for i in range(30)] == clips.labels.tolist()


def test_a_pluck_follows_from_its_number_alone():
    many = synthesise(range(20), FORM)
    alone = synthesise([13], FORM)
    assert np.array_equal(many.clips[13], alone.clips[0])
    assert np.array_equal(pluck(13, FORM), pluck(13, FORM))
    shuffled = synthesise([5, 13, 2], FORM)
    assert np.array_equal(shuffled.clips, many.clips[[5, 13, 2]])


def test_plucks_of_one_pitch_class_differ():
    clips = {pluck(index, FORM).tobytes() for index in range(0, 240, 12)}
    assert len(clips) == 20


@settings(deadline=None, max_examples=50)
@given(
    index=st.integers(0, 10**6),
    rate=st.sampled_from([1000, 4000, 8000, 16_000, 44_100, 48_000, 192_000]),
    length=st.integers(64, 4096),
    peak=st.floats(0.1, 1.0),
)
def test_a_pluck_of_any_form_that_configs_allow_is_finite_and_reaches_the_peak(index, rate, length, peak):
    form = clip_form(DataConfig(rate=rate, length=length, peak=peak))
    sound = pluck(index, form)
    assert sound.shape == (length,)
    assert sound.dtype == np.float32
    assert np.isfinite(sound).all()
    assert np.abs(sound).max() == pytest.approx(peak, rel=1e-6)


def test_a_pluck_dies_away_around_zero():
    for index in range(24):
        sound = pluck(index, ClipForm(rate=8000, length=8192))
        quarters = np.square(sound.reshape(4, -1)).mean(1)
        assert (np.diff(quarters) < 0).all()
        assert quarters[3] < 0.2 * quarters[0]
        assert abs(sound.mean()) < 1e-3


@pytest.fixture(scope="module")
def plucks() -> Datasets:
    return load_datasets(DataConfig(length=512))


def test_plucks_are_the_default_and_need_no_files(plucks):
    assert DataConfig().name == "plucks"
    assert plucks.classes == PITCH_CLASSES
    for part in (plucks.train, plucks.validation):
        batch = part.batch(range(len(part)))
        assert batch["x"].shape == (len(part), 1, 512)
        assert batch["x"].dtype == torch.float32
        assert batch["x"].abs().amax((1, 2)).tolist() == pytest.approx([0.95] * len(part), abs=1e-4)
        assert set(batch["label"].tolist()) == set(range(12))
        counts = batch["label"].bincount()
        assert counts.max() == counts.min(), "no pitch class is favoured"


def test_no_pluck_is_in_both_parts_or_twice_in_one(plucks):
    train, validation = (
        [clip.tobytes() for clip in part.clips]  # type: ignore[attr-defined]
        for part in (plucks.train, plucks.validation)
    )
    assert len({*train, *validation}) == len(train) + len(validation)


def test_the_parts_are_the_numbers_from_zero_on(plucks):
    form = clip_form(DataConfig(length=512))
    first = len(plucks.train)
    for part, index in ((plucks.train, 17), (plucks.validation, first + 17)):
        expected = torch.from_numpy(pluck(index, form)).unsqueeze(0)
        assert torch.allclose(part[17]["x"], expected, atol=1 / 32_000)
        assert part[17]["label"] == index % 12
