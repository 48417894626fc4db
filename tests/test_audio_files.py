"""Sound files: every kind of them, damaged ones, writing, and recordings of any length."""

from __future__ import annotations

import io
import itertools
import os
import sys
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anytime_audio.config import AudioConfig, Channels
from anytime_audio.datasets import files
from anytime_audio.datasets import recording as recording_module
from anytime_audio.datasets.files import ClipForm, Encoding, prepare, read_clips, write_sound
from anytime_audio.datasets.muffling import muffled
from anytime_audio.datasets.reading import SOUND_SUFFIXES, read_blocks
from anytime_audio.datasets.recording import Recording
from anytime_audio.modality import AudioModality
from anytime_core.errors import DataError

FORM = ClipForm(rate=8000, length=512)

STEP = 2.0**-15
"""One step of 16-bit sound."""


def noise(length: int, level: float = 0.5) -> np.ndarray:
    return np.random.default_rng(0).uniform(-level, level, length).astype(np.float32)


def tone(length: int, rate: int = 8000, hertz: float = 440.0, level: float = 0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(length) / rate)).astype(np.float32)


def encoded(sound: np.ndarray, rate: int = 8000, container: str = "WAV", subtype: str = "PCM_16") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, sound, rate, format=container, subtype=subtype)
    return buffer.getvalue()


def put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def read(path: Path, rate: int = 8000) -> np.ndarray:
    return np.concatenate(list(read_blocks(path, rate)))


KINDS = [
    # suffix, container, subtype, largest root of the mean squared error of a tone of level 0.5
    (".wav", "WAV", "PCM_U8", 2**-7),
    (".wav", "WAV", "PCM_16", STEP),
    (".wav", "WAV", "PCM_24", 2**-23),
    (".wav", "WAV", "PCM_32", 2**-24),
    (".wav", "WAV", "FLOAT", 0),
    (".wav", "WAV", "DOUBLE", 0),
    (".wav", "WAV", "ULAW", 0.02),
    (".wav", "WAV", "IMA_ADPCM", 0.02),
    (".wav", "WAV", "GSM610", 0.1),
    (".wav", "WAVEX", "PCM_16", STEP),
    (".flac", "FLAC", "PCM_16", STEP),
    (".flac", "FLAC", "PCM_24", 2**-23),
    (".ogg", "OGG", "VORBIS", 0.05),
    (".oga", "OGG", "VORBIS", 0.05),
    (".opus", "OGG", "OPUS", 0.05),
    (".mp3", "MP3", "MPEG_LAYER_III", 0.05),
    (".aif", "AIFF", "PCM_16", STEP),
    (".aiff", "AIFF", "PCM_S8", 2**-7),
    (".aifc", "AIFF", "FLOAT", 0),
    (".au", "AU", "PCM_16", STEP),
    (".caf", "CAF", "PCM_16", STEP),
    (".caf", "CAF", "ALAC_16", STEP),
    (".rf64", "RF64", "PCM_16", STEP),
    (".w64", "W64", "PCM_16", STEP),
]
EVERY_KIND = pytest.mark.parametrize(
    ("suffix", "container", "subtype", "error"),
    [pytest.param(*kind, id=f"{kind[0]}-{kind[2]}") for kind in KINDS],
)


@cache
def long_file(container: str, subtype: str) -> bytes:
    """A file of several blocks."""
    if not soundfile.check_format(container, subtype):
        pytest.skip(f"this libsndfile writes no {container} {subtype}")
    return encoded(noise(200_000), 8000, container, subtype)


def test_every_suffix_that_is_looked_for_is_tried_here():
    assert {suffix for suffix, *_ in KINDS} == SOUND_SUFFIXES


@EVERY_KIND
def test_every_kind_of_file_is_read(suffix, container, subtype, error, tmp_path):
    if not soundfile.check_format(container, subtype):
        pytest.skip(f"this libsndfile writes no {container} {subtype}")
    sound = tone(24_000)
    path = put(tmp_path / f"tone{suffix}", encoded(sound, 8000, container, subtype))
    found = read(path)
    assert found.dtype == np.float32
    assert len(sound) <= len(found) < 1.05 * len(sound), "some codecs fill up their last frame"
    assert np.sqrt(np.square(found[: len(sound)] - sound).mean()) <= error


@EVERY_KIND
def test_a_file_is_the_same_in_blocks_as_in_one_piece(suffix, container, subtype, error, tmp_path):
    path = put(tmp_path / f"noise{suffix}", long_file(container, subtype))
    # Of GSM 6.10, which libsndfile cannot seek in, it has to be said how much is wanted.
    with path.open("rb") as opened, soundfile.SoundFile(opened) as file:
        expected = file.read(file.frames, dtype="float32")
    found = [len(block) for block in read_blocks(path, 8000)]
    assert sum(found) == len(expected)
    assert max(found) < len(expected) / 2, "it comes in blocks"
    assert np.abs(read(path) - expected).max() < 1e-5


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_averaged(channels, tmp_path):
    sound = np.random.default_rng(0).uniform(-1, 1, (3000, channels)).astype(np.float32)
    path = put(tmp_path / "sound.wav", encoded(sound, subtype="FLOAT"))
    assert np.abs(read(path) - sound.mean(1)).max() < 1e-6


@pytest.mark.parametrize("rate", [1000, 4000, 8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_a_tone_of_any_rate_keeps_its_pitch_level_and_duration(rate, tmp_path):
    path = put(tmp_path / "tone.wav", encoded(tone(rate, rate, hertz=440.0), rate, subtype="FLOAT"))
    found = read(path)
    assert len(found) == pytest.approx(8000, abs=1)
    middle = found[1000:7000]
    assert np.argmax(np.abs(np.fft.rfft(middle))) * 8000 / len(middle) == pytest.approx(440, abs=1)
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.01)


def test_what_the_lower_rate_cannot_hold_is_filtered_out(tmp_path):
    path = put(tmp_path / "tone.wav", encoded(tone(44_100, 44_100, hertz=6000.0), 44_100))
    assert np.abs(read(path)[500:-500]).max() < 1e-3


def test_resampling_leaves_no_seams_between_blocks(tmp_path):
    path = put(tmp_path / "tone.wav", encoded(tone(300_000, 44_100), 44_100, subtype="FLOAT"))
    assert len(list(read_blocks(path, 8000))) > 3
    found = read(path)
    assert np.abs(found - tone(len(found)))[500:-500].max() < 1e-3


BAD: Mapping[str, tuple[Callable[[], bytes], str]] = {
    "text.wav": (lambda: b"this is no sound\n" * 30, "cannot be read as a sound"),
    "text.mp3": (lambda: b"this is no sound\n" * 30, "cannot be read as a sound"),
    "empty.wav": (lambda: b"", "cannot be read as a sound"),
    "samples.raw": (lambda: bytes(range(256)), "cannot be read as a sound"),
    "half-a-header.wav": (lambda: encoded(noise(8000))[:20], "cannot be read as a sound"),
    "half.flac": (lambda: encoded(noise(8000), container="FLAC")[:5000], "cannot be read as a sound"),
    "no-samples.wav": (lambda: encoded(noise(0)), "no audio samples"),
    "nan.wav": (lambda: encoded(np.append(noise(999), np.float32(np.nan)), subtype="FLOAT"), "NaN or infinite"),
    "infinite.wav": (lambda: encoded(np.append(noise(999), np.float32(np.inf)), subtype="FLOAT"), "NaN or infinite"),
    "nan-late.wav": (lambda: encoded(np.append(noise(99_999), np.float32(np.nan)), subtype="FLOAT"), "NaN or infinite"),
    "nan-on-one-side.wav": (lambda: encoded(np.array([[0.5, np.nan]] * 999), subtype="FLOAT"), "NaN or infinite"),
    "beyond-float32.wav": (lambda: encoded(np.array([0.5, 1e300]), subtype="DOUBLE"), "NaN or infinite"),
    "silence.wav": (lambda: encoded(np.zeros(8000)), "silent"),
    "last-bit.wav": (lambda: encoded(tone(8000, level=STEP)), "silent"),
    "slow.wav": (lambda: encoded(noise(8000), rate=500), "impossible rate of 500 Hz"),
}

OPENERS: Mapping[str, Callable[[Path], object]] = {
    "clips": lambda path: read_clips(path, FORM),
    "recording": lambda path: Recording(path, FORM, "16bit"),
}
EVERY_OPENER = pytest.mark.parametrize("opener", OPENERS)


@EVERY_OPENER
@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_an_error_that_names_it_and_says_why(name, opener, tmp_path):
    make, reason = BAD[name]
    path = put(tmp_path / name, make())
    with pytest.raises(DataError) as error:
        OPENERS[opener](path)
    message = str(error.value)
    assert str(path) in message
    assert reason in message
    assert "<_io" not in message, "people are told of files, not of Python's objects"


@EVERY_OPENER
def test_a_path_without_a_file_is_an_error_that_names_it(opener, tmp_path):
    with pytest.raises(DataError, match=r"missing\.wav does not exist"):
        OPENERS[opener](tmp_path / "missing.wav")
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(DataError, match=r"folder\.wav cannot be read: it is a folder, not a file"):
        OPENERS[opener](tmp_path / "folder.wav")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
@EVERY_OPENER
def test_a_file_that_may_not_be_read_is_an_error_that_says_so(opener, tmp_path):
    path = put(tmp_path / "secret.wav", encoded(noise(8000)))
    path.chmod(0)
    with pytest.raises(DataError, match=r"secret\.wav cannot be read: Permission denied"):
        OPENERS[opener](path)


@pytest.mark.parametrize("length", [1, 2, 79])
def test_clips_need_a_hundredth_of_a_second(length, tmp_path):
    path = put(tmp_path / "short.wav", encoded(noise(length)))
    with pytest.raises(DataError, match=rf"short\.wav is too short: {length} audio samples at 8000 Hz"):
        read_clips(path, FORM)
    assert read_clips(put(path, encoded(noise(80))), FORM).shape == (1, FORM.length)


def test_a_lone_sample_of_a_high_rate_is_an_error_that_names_it(tmp_path):
    path = put(tmp_path / "click.wav", encoded(np.ones(1), rate=192_000))
    with pytest.raises(DataError, match=r"click\.wav"):
        read_clips(path, FORM)


@pytest.mark.parametrize("level", [1e-3, 1.0, 1e3, 1e10, 1e20, 3e38])
def test_floating_point_sound_of_any_level_is_normalised_or_refused_for_a_true_reason(level, tmp_path):
    sound = np.stack([tone(8000, level=level)] * 2, axis=1)
    path = put(tmp_path / "loud.wav", encoded(sound, subtype="FLOAT"))
    try:
        clips = read_clips(path, FORM)
    except DataError as error:
        assert level > 1e6
        assert str(path) in str(error)  # noqa: PT017
        assert "silent" not in str(error)  # noqa: PT017
    else:
        assert np.abs(clips).max() == pytest.approx(FORM.peak, rel=1e-4)


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1, 0.01, 0.0005])
@EVERY_KIND
def test_a_file_that_ends_early_is_used_as_far_as_it_goes_or_refused_by_name(
    suffix, container, subtype, error, share, tmp_path
):
    data = long_file(container, subtype)
    whole = read(put(tmp_path / f"whole{suffix}", data))
    path = put(tmp_path / f"cut{suffix}", data[: int(share * len(data))])
    try:
        found = read(path)
    except DataError as problem:
        assert str(path) in str(problem)  # noqa: PT017
        assert "NaN" not in str(problem), "nothing is made up"  # noqa: PT017
    else:
        assert len(found) <= (share + 0.05) * len(whole), "nothing is made up"
        sure = max(0, len(found) - 4096)  # codecs cannot finish their last frame
        assert np.abs(found[:sure] - whole[:sure]).max(initial=0) < 0.01


@pytest.mark.parametrize("suffix", [".wav", ".aiff", ".au"])
def test_files_without_compression_are_used_as_far_as_they_go(suffix, tmp_path):
    container = suffix[1:].upper()
    path = put(tmp_path / f"cut{suffix}", encoded(noise(8000), container=container)[:-8000])
    assert np.abs(read(path) - noise(8000)[:4000]).max() <= STEP


def test_a_flac_file_of_unknown_length_is_read_whole_or_refused_by_name(tmp_path):
    # Encoders that write into a pipe leave the number of samples, 36 bits from byte 21.5 on, at zero.
    data = bytearray(encoded(noise(8000), container="FLAC"))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    path = put(tmp_path / "piped.flac", bytes(data))
    try:
        found = np.concatenate(list(itertools.islice(read_blocks(path, 8000), 5)))
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert len(found) == 8000


def test_an_mp3_file_that_claims_more_than_it_holds_is_read_as_far_as_it_goes_or_refused_by_name(tmp_path):
    data = bytearray(encoded(noise(8000), container="MP3", subtype="MPEG_LAYER_III"))
    tag = data.find(b"Xing") if b"Xing" in data else data.find(b"Info")
    assert tag > 0
    data[tag + 8 : tag + 12] = (1000).to_bytes(4, "big")  # frames of 576 samples
    path = put(tmp_path / "liar.mp3", bytes(data))
    try:
        blocks = list(itertools.islice(read_blocks(path, 8000), 5))
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017
        assert "NaN" not in str(error), "nothing is made up"  # noqa: PT017
    else:
        assert sum(map(len, blocks)) < 10_000, "nothing is made up"


def test_a_damaged_header_prints_nothing(tmp_path, monkeypatch, capfd):
    unraised: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraised.append)
    path = put(tmp_path / "cut.w64", encoded(noise(24_000), container="W64")[:96])
    with pytest.raises(DataError, match=r"cut\.w64"):
        read_clips(path, FORM)
    assert not unraised
    assert "Traceback" not in capfd.readouterr().err


@cache
def short_file(container: str, subtype: str) -> bytes:
    if not soundfile.check_format(container, subtype):
        return b""
    return encoded(noise(3000), 8000, container, subtype)


@settings(deadline=None, max_examples=80)
@given(
    kind=st.sampled_from([kind[1:3] for kind in KINDS]),
    changes=st.lists(st.tuples(st.integers(0, 200) | st.integers(0, 5000), st.integers(0, 255)), max_size=6),
    end=st.integers(0, 9000),
)
def test_whatever_is_wrong_inside_a_file_is_a_data_error_and_nothing_else(kind, changes, end, tmp_path_factory):
    data = bytearray(short_file(*kind)[:end])
    for position, value in changes:
        if data:
            data[position % len(data)] = value
    path = put(tmp_path_factory.getbasetemp() / "fuzzed.wav", bytes(data))
    try:
        blocks = list(itertools.islice(read_blocks(path, 8000), 5))
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert len(blocks) < 5, "3000 samples do not fill five blocks, whatever the header says"
        assert all(block.dtype == np.float32 and block.ndim == 1 and np.isfinite(block).all() for block in blocks)


WRITTEN: list[tuple[str, Encoding, str, str, float]] = [
    (".wav", "16bit", "WAV", "PCM_16", 1.5 * STEP),
    (".wav", "24bit", "WAV", "PCM_24", 2.0**-22),
    (".wav", "float", "WAV", "FLOAT", 0),
    (".WAV", "16bit", "WAV", "PCM_16", 1.5 * STEP),
    (".flac", "16bit", "FLAC", "PCM_16", 1.5 * STEP),
    (".flac", "24bit", "FLAC", "PCM_24", 2.0**-22),
    (".aiff", "24bit", "AIFF", "PCM_24", 2.0**-22),
]


@pytest.mark.parametrize(("suffix", "encoding", "container", "subtype", "tolerance"), WRITTEN)
def test_suffix_and_encoding_say_how_sound_is_written(suffix, encoding, container, subtype, tolerance, tmp_path):
    sound = np.append(noise(5000, level=0.99), np.array([-1, 0, 1], np.float32))
    path = tmp_path / f"sound{suffix}"
    write_sound([sound], path, 11_025, encoding)
    info = soundfile.info(path)
    assert (info.format, info.subtype) == (container, subtype)
    assert (info.samplerate, info.channels, info.frames) == (11_025, 1, 5003)
    assert np.abs(read(path, 11_025) - sound).max() <= tolerance


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(0, 3000), max_size=6), encoding=st.sampled_from(["16bit", "24bit", "float"]))
def test_it_makes_no_difference_in_how_many_blocks_sound_is_written(cuts, encoding, tmp_path_factory):
    sound = noise(3000)
    folder = tmp_path_factory.getbasetemp()
    write_sound([sound], folder / "one.wav", 8000, encoding)
    write_sound(np.split(sound, sorted(cuts)), folder / "many.wav", 8000, encoding)
    assert (folder / "many.wav").read_bytes() == (folder / "one.wav").read_bytes()


@pytest.mark.parametrize(
    ("name", "encoding"),
    [("a.flac", "float"), ("a.xyz", "16bit"), ("a", "16bit"), ("wav", "16bit"), ("a.mp3", "16bit"), ("a.ogg", "24bit")],
)
def test_a_suffix_that_cannot_hold_the_encoding_is_an_error_before_anything_is_written(name, encoding, tmp_path):
    with pytest.raises(DataError) as error:
        write_sound([noise(100)], tmp_path / name, 8000, encoding)
    for part in (name, encoding, ".wav"):
        assert part in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("encoding", ["16bit", "24bit"])
def test_integers_are_clipped_with_a_warning_that_says_how_many_and_how_far(encoding, tmp_path, caplog):
    first, second = noise(100), noise(150)
    first[[3, 50]] = [1.5, -1.2]
    second[149] = -2.25
    second[148] = 1.0
    write_sound([first, second], tmp_path / "loud.wav", 8000, encoding)
    (message,) = [record.getMessage() for record in caplog.records]
    for part in ("loud.wav", "3 of 250", "2.25", "clipped"):
        assert part in message
    found = read(tmp_path / "loud.wav")
    expected = np.concatenate([first, second]).clip(-1, 1)
    assert np.abs(found - expected).max() <= 1.5 * STEP, "nothing wraps around"


def test_floating_point_files_keep_values_beyond_full_scale(tmp_path, caplog):
    sound = noise(100)
    sound[[3, 50]] = [1.5, -7.0]
    write_sound([sound], tmp_path / "loud.wav", 8000, "float")
    assert np.array_equal(read(tmp_path / "loud.wav"), sound)
    assert not caplog.records


def test_sound_within_full_scale_is_written_without_a_warning(tmp_path, caplog):
    write_sound([np.array([-1, 1], np.float32)], tmp_path / "full.wav", 8000, "16bit")
    assert not caplog.records


def test_writing_does_not_change_what_it_is_given(tmp_path):
    sound = noise(100) * 4
    before = sound.copy()
    write_sound([sound], tmp_path / "loud.wav", 8000, "16bit")
    assert np.array_equal(sound, before)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_full_disk_is_an_error_that_says_which_file_could_not_be_written(suffix, tmp_path):
    path = tmp_path / f"sound{suffix}"
    path.symlink_to("/dev/full")
    with pytest.raises((DataError, OSError), match=r"sound\.") as error:
        write_sound([noise(100_000)] * 3, path, 8000, "16bit")
    assert isinstance(error.value, DataError) or error.value.strerror


def test_a_missing_folder_is_an_error_that_names_the_file(tmp_path):
    with pytest.raises((DataError, OSError), match=r"nowhere/sound\.wav"):
        write_sound([noise(100)], tmp_path / "nowhere" / "sound.wav", 8000, "16bit")


def record(path: Path, sound: np.ndarray, rate: int = 8000, *, length: int = 64, encoding: Encoding = "16bit"):
    """A recording of `sound` in clips of `length` samples."""
    put(path, encoded(sound, rate, subtype="FLOAT"))
    return Recording(path, ClipForm(rate=8000, length=length), encoding)


@st.composite
def durations(draw) -> tuple[int, int]:
    """Length of a clip and of a recording, often one where a clip begins or ends."""
    length = draw(st.sampled_from([64, 100, 257, 512]))
    step = length - length // 8
    edge = length + step * draw(st.integers(0, 6)) + draw(st.integers(-2, 2))
    return length, draw(st.just(edge) | st.integers(1, 2000))


@settings(deadline=None, max_examples=60)
@given(durations=durations(), rate=st.sampled_from([8000, 8000, 4000, 11_025, 44_100]))
def test_a_recording_written_unchanged_is_what_was_read(durations, rate, tmp_path_factory):
    length, total = durations
    folder = tmp_path_factory.getbasetemp()
    recording = record(folder / "in.wav", noise(-(-total * rate // 8000)), rate, length=length)
    clips = list(recording)
    assert len(clips) == len(recording)
    for clip in clips:
        assert clip.shape == (1, length)
        assert clip.dtype == torch.float32
    assert max(float(clip.abs().max()) for clip in clips) == pytest.approx(0.95, abs=1e-5)
    recording.write(iter(clips), folder / "out.wav")
    expected = read(folder / "in.wav")
    assert len(expected) == pytest.approx(total, abs=1)
    found = read(folder / "out.wav")
    assert len(found) == len(expected)
    assert np.abs(found - expected).max() <= 2 * STEP


@pytest.mark.parametrize(
    ("total", "number"), [(1, 1), (63, 1), (64, 1), (65, 2), (120, 2), (121, 3), (176, 3), (177, 4)]
)
def test_a_recording_has_no_more_clips_than_it_needs(total, number, tmp_path):
    # Clips of 64 samples begin every 56.
    recording = record(tmp_path / "in.wav", noise(total))
    assert len(recording) == number
    assert len(list(recording)) == number


def test_clips_overlap_by_an_eighth_and_the_last_ends_in_silence(tmp_path):
    recording = record(tmp_path / "in.wav", noise(150))
    first, second, third = (clip[0] for clip in recording)
    assert torch.equal(first[56:], second[:8])
    assert torch.equal(second[56:], third[:8])
    assert third[150 - 112 - 1] != 0
    assert not third[150 - 112 :].any()


def test_the_level_is_that_of_the_whole_recording(tmp_path):
    recording = record(tmp_path / "in.wav", np.concatenate([tone(640, level=0.01), tone(640, level=0.2)]))
    clips = torch.cat(list(recording))
    assert clips[-3].abs().max() == pytest.approx(0.95, abs=0.01)
    assert clips[3].abs().max() == pytest.approx(0.95 / 20, abs=0.001)


def test_a_recording_can_be_iterated_again(tmp_path):
    recording = record(tmp_path / "in.wav", noise(1000), rate=44_100)
    for one, other in zip(recording, recording, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("encoding", "subtype"), [("16bit", "PCM_16"), ("24bit", "PCM_24"), ("float", "FLOAT")])
def test_a_recording_is_written_in_the_wanted_encoding_at_the_rate_of_clips(encoding, subtype, tmp_path):
    recording = record(tmp_path / "in.wav", noise(3000), rate=16_000, encoding=encoding)
    recording.write(iter(recording), tmp_path / "out.wav")
    info = soundfile.info(tmp_path / "out.wav")
    assert (info.subtype, info.samplerate, info.channels, info.frames) == (subtype, 8000, 1, 1500)


def test_a_recording_beyond_full_scale_keeps_its_level_in_floating_point(tmp_path):
    recording = record(tmp_path / "in.wav", noise(1000, level=3.0), encoding="float")
    recording.write(iter(recording), tmp_path / "out.wav")
    assert np.abs(read(tmp_path / "out.wav") - noise(1000, level=3.0)).max() < 1e-5


@pytest.mark.parametrize("total", [10, 64, 300, 1000])
def test_clips_of_one_value_join_to_that_value(total, tmp_path):
    recording = record(tmp_path / "in.wav", noise(total), encoding="float")
    recording.write((torch.full((1, 64), 0.5) for _ in range(len(recording))), tmp_path / "out.wav")
    found = read(tmp_path / "out.wav")
    assert len(found) == total
    assert np.abs(found * recording.gain - 0.5).max() < 1e-6


def test_clips_that_do_not_fit_are_joined_without_a_step(tmp_path):
    recording = record(tmp_path / "in.wav", noise(5000), length=512, encoding="float")
    values = [0.8 * (-1) ** number for number in range(len(recording))]
    recording.write((torch.full((1, 512), value) for value in values), tmp_path / "out.wav")
    found = read(tmp_path / "out.wav") * recording.gain
    assert found.max() == pytest.approx(0.8)
    assert found.min() == pytest.approx(-0.8)
    # From -0.8 to 0.8 along half a squared sine over 64 samples.
    assert np.abs(np.diff(found)).max() < 1.1 * 1.6 * np.pi / 2 / 64


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_clips_of_any_precision_and_with_gradients_are_joined(dtype, tmp_path):
    recording = record(tmp_path / "in.wav", noise(1000))
    recording.write((clip.to(dtype).requires_grad_() for clip in recording), tmp_path / "out.wav")
    assert np.abs(read(tmp_path / "out.wav") - noise(1000)).max() < 0.01


def test_a_recording_is_read_only_as_far_as_its_clips_are_asked_for(tmp_path, monkeypatch):
    recording = record(tmp_path / "long.wav", noise(1_000_000), length=4096)
    taken: list[int] = []

    def counted(path: Path, rate: int, channels: Channels) -> Iterator[np.ndarray]:
        for block in read_blocks(path, rate, channels):
            taken.append(len(block))
            yield block

    monkeypatch.setattr(recording_module, "read_blocks", counted)
    clips = iter(recording)
    assert not taken
    for number in range(len(recording)):
        next(clips)
        assert sum(taken) <= number * 3584 + 4096 + 70_000
    assert sum(taken) == 1_000_000


def test_a_long_recording_is_read_and_written_in_little_memory(tmp_path):
    sound = noise(2_000_000)
    path = put(tmp_path / "long.wav", encoded(sound))
    size = sound.nbytes
    del sound
    tracemalloc.start()
    try:
        recording = Recording(path, ClipForm(rate=8000, length=4096), "16bit")
        recording.write(iter(recording), tmp_path / "out.wav")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert soundfile.info(tmp_path / "out.wav").frames == 2_000_000
    assert most < size / 3


def test_a_recording_that_is_gone_when_it_is_read_is_an_error_that_names_it(tmp_path):
    recording = record(tmp_path / "in.wav", noise(1000))
    (tmp_path / "in.wav").unlink()
    with pytest.raises(DataError, match=r"in\.wav"):
        list(recording)


# Channels


LOUD, QUIET = noise(3000), 0.1 * noise(3000)


@pytest.mark.parametrize(
    ("sides", "channels", "expected", "remarks"),
    [
        ((LOUD, QUIET), "mean", 0.55 * LOUD, []),
        ((LOUD, QUIET), "left", LOUD, []),
        ((QUIET, LOUD), "left", QUIET, []),
        ((QUIET, LOUD), "loudest", LOUD, []),
        ((LOUD, -LOUD), "mean", LOUD, ["cancelling"]),
        ((-0.99 * LOUD, LOUD), "mean", LOUD, ["cancelling"]),
        ((LOUD, -LOUD), "loudest", LOUD, []),
        ((LOUD, -LOUD, LOUD, -LOUD), "mean", LOUD, ["cancelling"]),
        ((LOUD, np.zeros(3000)), "mean", 0.5 * LOUD, []),
        ((LOUD, *np.zeros((31, 3000))), "mean", LOUD / 32, []),
    ],
)
def test_channels_are_mixed_as_is_said_and_none_cancels_another(sides, channels, expected, remarks, tmp_path):
    path = put(tmp_path / "sound.wav", encoded(np.stack(sides, 1), subtype="FLOAT"))
    said: list[str] = []
    found = np.concatenate(list(read_blocks(path, 8000, channels, said.append)))
    assert np.abs(found - expected).max() < 1e-6
    assert said == remarks


def test_a_sound_whose_channels_cancel_is_used_everywhere_and_said_once(tmp_path, caplog):
    path = put(tmp_path / "a.wav", encoded(np.stack([noise(1000), -noise(1000)], 1)))
    warned = "a.wav has channels that cancel each other out; the loudest is taken (data.channels)"
    list(record(path, np.stack([noise(1000), -noise(1000)], 1)))
    assert caplog.text.count(warned) == 1
    clip = AudioModality(AudioConfig()).read(path)
    assert clip.abs().max() == pytest.approx(0.95)
    assert caplog.text.count(warned) == 2


# Early ends


@EVERY_KIND
def test_what_ends_early_is_said_and_what_does_not_is_not(suffix, container, subtype, error, tmp_path):
    data = long_file(container, subtype)

    def remarks(content: bytes) -> list[str]:
        said: list[str] = []
        blocks = list(read_blocks(put(tmp_path / f"a{suffix}", content), 8000, remark=said.append))
        assert sum(map(len, blocks)) > 0.2 * 200_000
        return said

    assert remarks(data) == []
    if container == "CAF":  # which libsndfile refuses
        with pytest.raises(DataError, match="cannot be read as a sound"):
            remarks(data[: len(data) // 2])
    else:
        assert remarks(data[: len(data) // 2]) == ["truncated"]


def test_a_length_that_writers_of_streams_do_not_know_is_no_early_end(tmp_path):
    data = bytearray(encoded(noise(1000)))
    data[40:44] = b"\xff\xff\xff\xff"
    said: list[str] = []
    assert sum(map(len, read_blocks(put(tmp_path / "a.wav", bytes(data)), 8000, remark=said.append))) == 1000
    assert not said


# Long sounds


@pytest.mark.parametrize("top_db", [30.0, None])
@pytest.mark.parametrize("cut", ["start", "all"])
@pytest.mark.parametrize(("total", "rate"), [(5000, 8000), (70_001, 11_025), (150_000, 8000)])
def test_sounds_that_are_not_held_become_the_same_clips(total, rate, cut, top_db, tmp_path, monkeypatch):
    sound = noise(total)
    sound[: total // 5] *= 1e-3
    sound[-total // 7 :] *= 2e-3
    path = put(tmp_path / "a.wav", encoded(sound, rate))
    form = ClipForm(rate=8000, length=512, cut=cut, top_db=top_db)
    expected = read_clips(path, form)
    monkeypatch.setattr(files, "_HELD", 1000)
    assert prepare(path, form).sound is None
    found = read_clips(path, form)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 1e-6


# What libmpg123 writes


def test_remarks_of_the_mp3_decoder_stay_from_the_terminal_and_nothing_else_does(tmp_path, capfd):
    data = long_file("MP3", "MPEG_LAYER_III")
    path = put(tmp_path / "a.mp3", data[: len(data) // 2])
    list(read_blocks(path, 8000))
    assert capfd.readouterr().err == ""
    with muffled(True):
        os.write(2, b"somebody's line\n\n[src/libmpg123/id3.c:process_comment():584] error: No comment\nanother ")
        with muffled(True):
            os.write(2, b"line\nWarning: Xing stream size off by more than 1%, fuzzy\n")
        assert capfd.readouterr().err == "somebody's line\nanother line\n", "it is passed on at once"
    os.write(2, b"the end\n")
    assert capfd.readouterr().err == "the end\n"
