"""How pictures become squares, and are given back at their own size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from anytime_image.config import Fit, ImageConfig
from anytime_image.fitting import fitting_note, placed
from anytime_image.modality import ImageModality
from anytime_image.reading import shown_size

FITS: list[Fit] = ["crop", "pad", "stretch"]
GROUND = torch.tensor([200], dtype=torch.uint8)[:, None, None]
WIDE, LARGE = (30, 20), (2000, 1000)


def folder_modality(root, fit: Fit, size: int = 8) -> ImageModality:
    data = {"name": "folder", "root": root, "size": size, "fit": fit, "color": "grey", "background": "black"}
    return ImageModality(ImageConfig.model_validate({"data": data}))


def half_and_half(path, size: tuple[int, int]):
    """A picture, white but for its left half, which is of a middle grey."""
    width, height = size
    pixels = np.full((height, width), 255, np.uint8)
    pixels[:, : width // 2] = 128
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("side", [4, 5, 64])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (20, 30), (64, 64), (65, 64), (7, 9), (299, 300)])
def test_a_picture_is_a_square_and_of_its_own_size_again_with_what_was_seen_where_it_was(fit, size, side):
    placement = placed(size, side, fit)
    black = torch.zeros(1, placement.seen.height, placement.seen.width, dtype=torch.uint8)
    square = placement.fitted(black, GROUND)
    assert square.shape == (1, side, side)
    whole = placement.restored(square, GROUND)
    assert whole.shape == (1, size[1], size[0])
    assert not placement.seen.cut(whole).any()
    if fit != "crop":
        assert not whole.any(), "all of it is seen"
    margins = square.numel() - placement.place.width * placement.place.height
    assert (square == 200).sum() == margins


@pytest.mark.parametrize(
    ("fit", "expected"),
    [("crop", [[128] * 4 + [255] * 4] * 8), ("stretch", [[128] * 4 + [255] * 4] * 8)],
)
def test_what_is_seen_of_a_wide_picture(fit, expected, tmp_path):
    x = folder_modality(tmp_path, fit).read(half_and_half(tmp_path / "a.png", (64, 32)))
    pixels = ((x[0] + 1) * 127.5).round().int()
    assert (pixels - torch.tensor(expected)).abs()[:, [0, 1, 2, 5, 6, 7]].max() <= 1


def test_margins_of_a_wide_picture_are_background(tmp_path):
    x = folder_modality(tmp_path, "pad").read(half_and_half(tmp_path / "a.png", (64, 32)))
    assert (x[0, [0, 1, 6, 7]] == -1).all()
    assert (x[0, 2:6] > -0.1).all()


@pytest.mark.parametrize("fit", FITS)
def test_a_reconstruction_is_given_back_at_the_size_of_the_picture_as_it_is_shown(fit, tmp_path):
    path = half_and_half(tmp_path / "a.png", WIDE)
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(tmp_path / "turned.png", exif=exif)
    modality = folder_modality(tmp_path, fit)
    for name, size in (("a.png", WIDE), ("turned.png", WIDE[::-1])):
        assert shown_size(tmp_path / name) == size
        picture = modality.open_to_restore(tmp_path / name)
        picture.write(iter(picture), tmp_path / "out.png")
        with Image.open(tmp_path / "out.png") as out:
            assert out.size == size
            corner = out.getpixel((0, 0)), out.getpixel((size[0] - 1, size[1] - 1))
        assert (corner == (0, 0)) == (fit == "crop"), "around the middle square is background"


@pytest.mark.parametrize(
    ("sizes", "fit", "expected"),
    [
        ({(8, 8): 5}, "crop", ()),
        ({WIDE: 2, (8, 8): 1}, "crop", "3 pictures of 8x8 to 30x20 made 8x8 (data.size); 2 cropped to the middle "
         "square, by 33 % of the area on average and 33 % at most (data.fit=crop)"),
        ({WIDE: 3, LARGE: 1}, "pad", "4 pictures of 30x20 to 2000x1000 made 8x8 (data.size); all padded, by 41 % of "
         "the square on average and 50 % at most (data.fit=pad)"),
        ({WIDE: 1}, "stretch", "1 picture of 30x20 made 8x8 (data.size); all stretched, by a factor of 1.50 on average "
         "and 1.50 at most (data.fit=stretch)"),
        ({(4, 4): 7}, "crop", "7 pictures of 4x4 made 8x8 (data.size); all enlarged"),
    ],
)  # fmt: skip
def test_what_becomes_of_pictures_is_said_once_with_numbers(sizes, fit, expected):
    assert fitting_note(sizes, 8, fit) == ((expected,) if expected else ())
