"""Images, sounds and caches that others made: headers that claim more than any memory holds."""

from __future__ import annotations

import io
import json
import os
import struct
import tracemalloc
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from anytime_audio.datasets import files
from anytime_audio.datasets.clips import cached_clips
from anytime_audio.datasets.files import ClipForm, read_clips
from anytime_audio.datasets.recording import Recording
from anytime_core.data.user_files import LabelledFiles
from anytime_core.errors import DataError
from anytime_image.reading import read_image

FORM = ClipForm(8000, 2048)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("a.png", lambda path: read_image(path, (1, 8, 8))),
        ("a.wav", lambda path: read_clips(path, FORM)),
        ("b.flac", lambda path: Recording(path, FORM, "16bit")),
    ],
    ids=["image", "sound", "recording"],
)
def test_a_pipe_is_neither_picture_nor_sound(name, read, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=rf"{name} cannot be read.*: it is a pipe, not a file$"):
        read(tmp_path / name)


def png(width: int, height: int, depth: int = 8, colour: int = 0) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 60, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(8)


def tiff(width: int, height: int) -> bytes:
    entries = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, 9)]
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\x00" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + fields + bytes(4)


IMAGES = {
    "ten-billion.png": png(100_000, 100_000),
    "twice-the-limit.png": png(13_000, 13_000),
    "just-beyond.png": png(9_500, 9_500),
    "sixteen-bit.png": png(50_000, 50_000, 16, 2),
    "one-row.png": png(2**31 - 1, 1),
    "huge.bmp": bmp(40_000, 40_000),
    "huge.gif": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b",\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;",
    "huge.tif": tiff(60_000, 60_000),
    "huge.ppm": b"P6 60000 60000 255\n" + bytes(99),
    "huge.pgm": b"P5 60000 60000 65535\n" + bytes(99),
}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_that_claims_too_many_pixels_is_refused_before_they_are_allocated(name, tmp_path, monkeypatch):
    path = tmp_path / name
    path.write_bytes(IMAGES[name])
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: pytest.fail("nothing may be decoded"))
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(DataError) as refused:
            read_image(path, (3, 8, 8))
    assert str(path) in str(refused.value)
    assert "pixels" in str(refused.value)
    assert not warned


@pytest.mark.parametrize("content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\x00\x00\x01\x00\x01\x00"])
def test_formats_of_other_suffixes_are_not_read(content, tmp_path):
    """Pillow reads EPS by another program, which a picture of a stranger has no business with."""
    path = tmp_path / "picture.png"
    path.write_bytes(content + bytes(200))
    with pytest.raises(DataError, match=r"picture\.png"):
        read_image(path, (3, 8, 8))


def test_a_large_photograph_is_read(tmp_path):
    Image.new("L", (9_000, 9_000), 255).save(tmp_path / "a.png", compress_level=1)
    assert read_image(tmp_path / "a.png", (1, 8, 8)).min() == 255


def test_compressed_text_beside_an_image_does_not_fill_memory(tmp_path):
    content = png(8, 8)
    text = b"k\0\0" + zlib.compress(bytes(2**28), 9)
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    (tmp_path / "a.png").write_bytes(content[:33] + chunk + content[33:])
    tracemalloc.start()
    with pytest.raises(DataError, match=r"a\.png"):
        read_image(tmp_path / "a.png", (1, 8, 8))
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()


def wav(channels: int = 1, rate: int = 8000, claimed: int | None = None, data: bytes = b"\1\2" * 4000) -> bytes:
    size = len(data) if claimed is None else claimed
    form = struct.pack("<HHIIHH", 1, channels, rate, (rate * channels * 2) % 2**32, (channels * 2) % 2**16, 16)
    riff = b"RIFF" + struct.pack("<I", size % 2**32) + b"WAVEfmt " + struct.pack("<I", 16)
    return riff + form + b"data" + struct.pack("<I", size) + data


def flac(frames: int) -> bytes:
    """A FLAC file of one second whose header claims `frames` audio samples, of at most 2^36."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.sin(np.arange(8000) * 0.1) * 0.5, 8000, format="FLAC")
    content = bytearray(buffer.getvalue())
    content[21] = content[21] & 0xF0 | frames >> 32
    content[22:26] = struct.pack(">I", frames & 0xFFFFFFFF)
    return bytes(content)


SOUNDS = {
    "channels.wav": (wav(channels=1000, data=bytes(2000 * 8)), "1000 channels"),
    "all-channels.wav": (wav(channels=65_535), "channels.wav"),
    "rate.wav": (wav(rate=2**31), "rate"),
    "no-rate.wav": (wav(rate=0), "no-rate.wav"),
    "length.flac": (flac(2**36 - 1), "claims"),
}


@pytest.mark.parametrize("opener", [lambda path: read_clips(path, FORM), lambda path: Recording(path, FORM, "16bit")])
@pytest.mark.parametrize("name", SOUNDS)
def test_a_sound_whose_header_is_absurd_is_refused_before_it_is_read(name, opener, tmp_path):
    content, reason = SOUNDS[name]
    path = tmp_path / name
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(DataError, match=reason) as refused:
        opener(path)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()
    assert str(path) in str(refused.value)


def test_a_sound_that_claims_more_than_it_holds_takes_the_memory_of_what_it_holds(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav(claimed=2**32 - 100))
    read_clips(tmp_path / "a.wav", FORM)  # imports what it needs
    tracemalloc.start()
    assert read_clips(tmp_path / "a.wav", FORM).shape == (1, 2048)
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_a_sound_longer_than_memory_is_refused_as_a_clip_and_read_as_a_recording(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_LONGEST", 20_000)
    path = tmp_path / "a.wav"
    soundfile.write(path, np.sin(np.arange(30_000) * 0.1) * 0.5, 8000)
    with pytest.raises(DataError, match="hours") as refused:
        read_clips(path, FORM)
    assert str(path) in str(refused.value)
    assert Recording(path, FORM, "16bit").length == 30_000


def test_hours_of_silence_in_a_small_file_take_the_memory_of_a_part_of_them(tmp_path):
    path = tmp_path / "a.flac"
    with soundfile.SoundFile(path, "w", 1000, 1, "PCM_16") as file:
        for block in (np.full(500, 0.5), np.zeros(2**19), np.full(500, 0.5)):
            file.write(block)
    soundfile.write(tmp_path / "b.wav", np.sin(np.arange(4000) * 0.3) * 0.5, 8000)
    form = ClipForm(48_000, 2048)
    read_clips(tmp_path / "b.wav", form)  # imports what it needs
    tracemalloc.start()
    assert read_clips(path, form).shape == (1, 2048)
    assert tracemalloc.get_traced_memory()[1] < 2**26, "of 25 million audio samples"
    tracemalloc.stop()


@pytest.mark.parametrize("file", [[0, 7], [0, -1], ["0", "1"], [[0]], None, "01"], ids=str)
def test_an_index_that_lies_is_not_believed(file, tmp_path, caplog):
    """With a right checksum, which anybody can compute."""
    paths = [tmp_path / f"{name}.wav" for name in "ab"]
    for path in paths:
        soundfile.write(path, np.sin(np.arange(4000) * 0.3) * 0.5, 8000)
    source = LabelledFiles(paths, [0, 1])
    good = cached_clips(source, FORM, tmp_path / "cache", "folder")
    (index,) = (tmp_path / "cache").glob("*/index.json")
    data = {"file": file, "left_out": 0, "examples": [], "notes": []}
    checksum = zlib.crc32((index.parent / "clips.int16").read_bytes(), zlib.crc32(json.dumps(file).encode()))
    index.write_text(json.dumps({**data, "checksum": checksum}))
    again = cached_clips(source, FORM, tmp_path / "cache", "folder")
    assert again.labels is not None
    assert again.labels.tolist() == good.labels.tolist() == [0, 1]
    assert "damaged" in caplog.text


def test_a_path_is_named_in_every_error(tmp_path):
    for name in ("a.png", "a.wav"):
        path = Path(tmp_path / name)
        path.write_bytes(b"")
        with pytest.raises(DataError, match=str(path)):
            read_image(path, (1, 8, 8)) if name == "a.png" else read_clips(path, FORM)
