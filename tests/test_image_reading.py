"""Reading pictures: transparency, deep greys, animations, colour spaces, large ones, and what nobody should see."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from pydantic import ValidationError
from torch import Tensor

from anytime_core.errors import DataError
from anytime_image import datasets, reading
from anytime_image.config import DataConfig, ImageConfig
from anytime_image.datasets import load_datasets
from anytime_image.modality import ImageModality
from anytime_image.pixels import to_uint8
from anytime_image.reading import IMAGE_SUFFIXES, UNREAD_SUFFIXES, Rendering, full_scale, read_image

RAMP = np.repeat(np.linspace(0, 1, 16)[None], 16, 0)
"""From black to white."""


def saved(path: Path, image: Image.Image | np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(path, **options)
    return path


def grey(path: Path, rendering: Rendering = reading.UNSAID, size: int = 16) -> list[list[int]]:
    return read_image(path, (1, size, size), rendering)[0].tolist()


# Transparency


def half_hidden(mode: str) -> Image.Image:
    """Grey 50 on the left, and transparent on the right, where grey 200 is hidden."""
    grey = Image.new("L", (8, 8), 50)
    grey.paste(200, (4, 0, 8, 8))
    alpha = Image.new("L", (8, 8), 255)
    alpha.paste(0, (4, 0, 8, 8))
    if mode == "LA":
        return Image.merge("LA", (grey, alpha))
    return Image.merge("RGBA", (grey, grey, grey, alpha))


def keyed(mode: str) -> Callable[[Path], Path]:
    """The same without an alpha channel: one value or colour stands for transparent pixels."""

    def save(path: Path) -> Path:
        values = np.full((8, 8), 50, np.uint16 if mode == "I;16" else np.uint8)
        values[:, 4:] = 200
        if mode == "I;16":
            return saved(path, values * 257, transparency=200 * 257)
        image = Image.fromarray(values)
        if mode == "P":
            image = image.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE)
            return saved(path, image, transparency=image.getpixel((7, 7)))
        return saved(path, image.convert(mode), transparency=(200,) * 3 if mode == "RGB" else 200)

    return save


TRANSPARENT: dict[str, Callable[[Path], Path]] = {
    "rgba.png": lambda path: saved(path, half_hidden("RGBA")),
    "la.png": lambda path: saved(path, half_hidden("LA")),
    "rgba.webp": lambda path: saved(path, half_hidden("RGBA"), lossless=True, exact=True),
    "rgba.tif": lambda path: saved(path, half_hidden("RGBA")),
    "p.png": keyed("P"),
    "p.gif": keyed("P"),
    "l.png": keyed("L"),
    "rgb.png": keyed("RGB"),
    "i16.png": keyed("I;16"),
}


@pytest.mark.parametrize("background", [("white", 255), ("black", 0), ("grey", 128), ("#404040", 64)])
@pytest.mark.parametrize("name", TRANSPARENT)
def test_what_is_transparent_shows_the_ground_and_not_what_is_hidden(name, background, tmp_path):
    path = TRANSPARENT[name](tmp_path / name)
    config = ImageConfig.model_validate({"data": {"name": "folder", "size": 8, "background": background[0]}})
    found = to_uint8(ImageModality(config).read(path))
    assert found[:, :, :4].unique().tolist() == [50]
    assert found[:, :, 4:].unique().tolist() == [background[1]]


def test_half_transparent_pixels_are_mixed_with_a_coloured_ground(tmp_path):
    path = saved(tmp_path / "a.png", Image.new("RGBA", (8, 8), (200, 0, 100, 128)))
    found = read_image(path, (3, 8, 8), Rendering(background=(0, 255, 0)))
    assert found[:, 0, 0].tolist() == [100, 127, 50]


@pytest.mark.parametrize("background", ["whitish", "#12345", "#1234567", "rgb(0,0,0)"])
def test_a_ground_that_is_no_colour_is_refused(background):
    with pytest.raises(ValidationError, match="a ground is white, grey, black"):
        DataConfig(background=background)


# Greys of more than 8 bits


@pytest.mark.parametrize(
    ("largest", "kind", "white"),
    [
        (0, "integer", 255),
        (255, "integer", 255),
        (256, "integer", 511),
        (4095, "integer", 4095),
        (40_000, "integer", 65_535),
        (65_536, "integer", 131_071),
        (0.2, "float", 1),
        (1.005, "float", 1),
        (3, "float", 3),
        (200, "float", 255),
        (300, "float", 511),
        (65_535, "float", 65_535),
    ],
)
def test_white_is_the_full_scale_of_the_fewest_bits(largest, kind, white):
    assert full_scale(largest, kind) == white


DEEP = {
    "12 bits of 16": (RAMP * 4095).astype(np.uint16),
    "16 bits": (RAMP * 65_535).astype(np.uint16),
    "12 bits of 32": (RAMP * 4095).astype(np.int32),
    "float 0..1": RAMP.astype(np.float32),
    "float 0..3": (3 * RAMP).astype(np.float32),
    "float 0..255": (255 * RAMP).astype(np.float32),
}


@pytest.mark.parametrize("name", DEEP)
def test_a_ramp_of_any_depth_goes_from_black_to_white(name, tmp_path):
    (row, *_) = grey(saved(tmp_path / "x.tif", DEEP[name]))
    assert row == pytest.approx((255 * RAMP[0]).tolist(), abs=1)


def test_files_that_say_what_is_white_are_believed(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5 16 16 1000\n" + np.full((16, 16), 500, ">u2").tobytes())
    assert grey(tmp_path / "a.pgm", Rendering(white=4095))[0][0] == 127


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_one_value_is_white_in_a_whole_set_in_its_run_and_in_single_files(kind, in_memory, tmp_path, monkeypatch):
    if not in_memory:
        monkeypatch.setattr(datasets, "_IN_MEMORY_BYTES", 0)
    bright, dark = (3000, 300) if kind is np.uint16 else (200.0, 20.0)
    for number, value in enumerate((dark, bright, dark, dark)):
        saved(tmp_path / ("test" if number == 3 else "train") / f"{number}.tif", np.full((8, 8), value, kind))
    config = ImageConfig.model_validate({"data": {"name": "folder", "root": tmp_path, "size": 8, "color": "grey"}})
    data = ImageModality(config).datasets()
    white = 4095 if kind is np.uint16 else 255
    expected = int(dark / white * 255)
    assert [int(to_uint8(data.train[i]["x"])[0, 0, 0]) for i in range(3)] == [
        expected,
        int(bright / white * 255),
        expected,
    ]
    assert int(to_uint8(data.validation[0]["x"])[0, 0, 0]) == expected
    assert data.found is not None
    assert data.found.forms == {"8x8": 4}
    key = "data.white" if kind is np.uint16 else "data.float_white"
    assert any(f"{white} is white ({key})" in note for note in data.found.notes)
    assert isinstance(data.settled, ImageConfig)
    run = ImageModality(data.settled)
    assert int(to_uint8(run.read(tmp_path / "train" / "0.tif"))[0, 0, 0]) == expected
    again = run.datasets()
    assert again.settled == data.settled


def test_white_can_be_chosen(tmp_path):
    saved(tmp_path / "a.png", np.full((8, 8), 1000, np.uint16))
    saved(tmp_path / "b.tif", np.full((8, 8), 0.25, np.float32))
    chosen = Rendering(white=2000, float_white=0.5)
    assert [grey(tmp_path / name, chosen, 8)[0][0] for name in ("a.png", "b.tif")] == [127, 127]


def test_values_below_zero_are_said(tmp_path):
    for number in range(2):
        saved(tmp_path / f"{number}.tif", np.full((8, 8), -0.5 * number, np.float32))
    found = load_datasets(DataConfig(name="folder", root=tmp_path, size=8)).found
    assert found is not None
    assert any("values below 0 are black in 1 floating-point grey, such as" in note for note in found.notes)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_no_numbers_are_refused_with_their_place(value, tmp_path):
    picture = RAMP.astype(np.float32)
    picture[3, 5] = value
    path = saved(tmp_path / "x.tif", picture)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=rf"x\.tif holds {value} in row 3, column 5"):
            grey(path)


# Several pictures in a file


def frames_of(path: Path, values: tuple[int, ...] = (10, 20, 30)) -> Path:
    first, *others = (Image.new("L", (8, 8), value) for value in values)
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"lossless": True} if path.suffix == ".webp" else {}
    first.save(path, save_all=True, append_images=others, **options)
    return path


SEVERAL = (".gif", ".webp", ".png", ".tif")


@pytest.mark.parametrize("suffix", SEVERAL)
@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("which", ["first", "all"])
def test_of_animations_and_pages_the_first_or_all_are_taken(which, in_memory, suffix, tmp_path, monkeypatch):
    if not in_memory:
        monkeypatch.setattr(datasets, "_IN_MEMORY_BYTES", 0)
    for part, name in (("train", "a"), ("test", "a"), ("train", "b"), ("test", "b")):
        frames_of(tmp_path / part / name / f"1{suffix}")
        saved(tmp_path / part / name / "2.bmp", Image.new("L", (8, 8), 99))
    data = load_datasets(DataConfig(name="folder", root=tmp_path, size=8, color="grey", frames=which))
    seen = [int(to_uint8(data.train[i]["x"])[0, 0, 0]) for i in range(len(data.train))]
    one = [10, 99] if which == "first" else [10, 20, 30, 99]
    assert seen == one + one
    assert [int(data.train[i]["label"]) for i in range(len(data.train))] == [0] * len(one) + [1] * len(one)
    assert data.found is not None
    assert data.found.train == len(seen)
    assert data.found.classes["b"] == (len(one), len(one))
    said = "of 4 files of several frames or pages, such as " if which == "first" else "12 pictures come from 4"
    assert len([note for note in data.found.notes if said in note]) == 1


def test_a_second_picture_that_a_camera_adds_is_no_animation(tmp_path):
    image = Image.new("RGB", (8, 8), (9, 9, 9))
    image.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[image])
    assert reading.describe(tmp_path / "a.jpg", count_frames=True).frames == 1


# Suffixes and colour spaces


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_suffix_that_is_taken_is_read(suffix, tmp_path):
    form = {".pfm": "PPM", ".pnm": "PPM", ".apng": "PNG"}.get(suffix)
    image = Image.new("F", (8, 8), 1.0) if suffix == ".pfm" else Image.new("L", (8, 8), 255)
    image = image.convert("1") if suffix == ".pbm" else image
    image.save(tmp_path / f"a{suffix}", format=form)
    assert min(grey(tmp_path / f"a{suffix}", size=8)[0]) >= 253
    assert suffix not in UNREAD_SUFFIXES


@pytest.mark.skipif(not features.check("littlecms2"), reason="Pillow without colour management")
def test_lab_is_converted(tmp_path):
    from PIL import ImageCms

    image = Image.new("RGB", (8, 8), (200, 30, 60))
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    path = saved(tmp_path / "a.tif", ImageCms.profileToProfile(image, *profiles, outputMode="LAB"))
    assert read_image(path, (3, 8, 8))[:, 0, 0].tolist() == pytest.approx([200, 30, 60], abs=3)


# Large pictures, and what decoders write


def tile(path: Path, mode: str) -> Path:
    """A gradient of 300 x 200 pixels, black to white from left to right, its right end transparent where it can be."""
    row = np.linspace(0, 255, 300)
    values = np.repeat(row[None], 200, 0)
    if mode == "F":
        return saved(path, (values / 255).astype(np.float32))
    if mode == "RGBA":
        picture = np.stack([values] * 3 + [np.where(values > 200, 0, 255)], -1)
        return saved(path, picture.astype(np.uint8))
    image = Image.fromarray(values.astype(np.uint8))
    return saved(path, image.convert(mode), **({"quality": 95} if path.suffix == ".jpg" else {}))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    ("name", "mode"), [("a.jpg", "RGB"), ("a.png", "L"), ("a.png", "P"), ("a.png", "RGBA"), ("a.tif", "F")]
)
def test_large_pictures_are_what_small_ones_are_within_a_little(name, mode, turned, tmp_path, monkeypatch):
    path = tile(tmp_path / name, mode)
    if turned:
        with Image.open(path) as image:
            exif = image.getexif()
            exif[0x0112] = 6
            image.save(path, exif=exif)

    def read() -> Tensor:
        return read_image(path, (3, 12, 12)).float()

    whole = read()
    monkeypatch.setattr(reading, "_LARGE_PIXELS", 1000)
    monkeypatch.setattr(reading, "_STRIP_PIXELS", 3000)
    assert (read() - whole).abs().max() <= 4


def test_a_large_jpeg_is_decoded_at_the_size_that_is_needed(tmp_path, monkeypatch):
    path = tile(tmp_path / "a.jpg", "L")
    monkeypatch.setattr(reading, "_LARGE_PIXELS", 1000)
    sizes: list[tuple[int, int]] = []
    flat = reading._flat
    monkeypatch.setattr(reading, "_flat", lambda image, *rest: [sizes.append(image.size), flat(image, *rest)][1])
    read_image(path, (1, 8, 8))
    assert sizes == [(38, 25)], "an eighth of each side"


def damaged_tiff(path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    content = bytearray(saved(path, pixels, compression="tiff_lzw").read_bytes())
    content[200:260] = b"\xff" * 60
    path.write_bytes(content)
    return path


def cut_tiff(path: Path) -> Path:
    """Of which Pillow's own part warns."""
    content = saved(path, RAMP.astype(np.float32)).read_bytes()
    path.write_bytes(content[: len(content) - 30])
    return path


@pytest.mark.parametrize("make", [damaged_tiff, cut_tiff])
def test_a_damaged_picture_is_an_error_and_nothing_is_written_to_the_terminal(make, tmp_path, capfd):
    path = make(tmp_path / "a.tif")
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises(DataError, match=r"a\.tif"):
            read_image(path, (1, 8, 8))
    assert not warned
    assert capfd.readouterr() == ("", "")
