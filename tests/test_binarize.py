"""Black and white images: drawn once, drawn anew or by a threshold, from pictures in memory and from files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from anytime_core.modality import Datasets
from anytime_image import binarizing, datasets
from anytime_image.binarizing import Binarization, drawn_anew
from anytime_image.config import DataConfig, ImageConfig
from anytime_image.datasets import ImageFiles, load_datasets
from anytime_image.modality import ImageModality
from anytime_image.pixels import to_float, to_uint8

KINDS = ("static", "dynamic", "threshold")
DRAWN = Binarization(drawn=True, seed=0, part="train")


def greys(images: int, side: int = 5) -> Tensor:
    """uint8 [images, 1, side, side], of all greys."""
    return (
        torch.arange(images * side**2, dtype=torch.int64).mul(89).remainder(256).to(torch.uint8).view(-1, 1, side, side)
    )


def digits(kind: str | None, **changes: object) -> Datasets:
    return load_datasets(DataConfig(binarize=kind, **changes))


def everything(dataset) -> Tensor:
    return torch.stack([dataset[index]["x"] for index in range(len(dataset))])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of twelve noisy pictures of 8 x 8."""
    for number in range(12):
        noise = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number:02}.png")
    return tmp_path


def test_a_drawn_value_is_white_as_often_as_it_is_bright():
    values = torch.arange(256, dtype=torch.uint8).repeat(4000, 1).view(-1, 1, 16, 16)
    white = DRAWN(values).flatten(1).double().mean(0) / 255
    brightness = torch.arange(256) / 255
    error = (brightness * (1 - brightness) / 4000).sqrt()
    assert ((white - brightness).abs() <= 4.5 * error).all()
    assert white[[0, 255]].tolist() == [0, 1]


def test_the_draw_of_an_image_follows_from_seed_part_and_number_alone(monkeypatch):
    images = greys(9)
    whole = DRAWN(images)
    monkeypatch.setattr(binarizing, "_AT_ONCE", 4)
    assert torch.equal(DRAWN(images), whole)
    for number in range(9):
        assert torch.equal(DRAWN(images[number : number + 1], number), whole[number : number + 1])
    for other in (Binarization(True, 1, "train"), Binarization(True, 0, "validation"), Binarization(True, 0, "files")):
        assert not torch.equal(other(images), whole)


def test_draws_are_those_of_every_machine():
    drawn = DRAWN(greys(50)).flatten()
    assert np.packbits(drawn.numpy() > 0)[:8].tobytes().hex() == "55b6d34a0496965b"


@pytest.mark.parametrize("kind", KINDS)
def test_validation_images_have_two_values_and_are_the_same_each_time(kind):
    first, second = (everything(digits(kind).validation) for _ in range(2))
    assert set(first.unique().tolist()) == {-1, 1}
    assert torch.equal(first, second)


def test_a_draw_is_another_one_with_another_seed_only_and_a_threshold_has_none():
    drawn, again = (everything(digits("static", binarize_seed=seed).train) for seed in (0, 1))
    assert 0.02 < (drawn != again).double().mean() < 0.2
    thresholds = [everything(digits("threshold", binarize_seed=seed).train) for seed in (0, 1)]
    assert torch.equal(*thresholds)
    assert torch.equal(thresholds[0], torch.where(everything(digits(None).train) > 0, 1.0, -1.0))


def test_dynamic_draws_training_images_anew_in_each_view_and_validates_on_the_fixed_draw():
    fixed, dynamic, grey = digits("static"), digits("dynamic"), digits(None)
    assert torch.equal(everything(dynamic.validation), everything(fixed.validation))
    assert torch.equal(everything(dynamic.train), everything(grey.train))
    modality = ImageModality(ImageConfig(data=DataConfig(binarize="dynamic")))
    x = everything(dynamic.train)[:64]
    views = torch.stack([modality.augment(x, torch.Generator().manual_seed(seed)) for seed in range(200)])
    assert set(views.unique().tolist()) == {-1, 1}
    assert (views.mean(0) - x).abs().max() < 0.4  # five standard errors of the mean of 200 draws
    assert torch.equal(modality.augment(x, torch.Generator().manual_seed(3)), views[3])


@pytest.mark.parametrize("kind", [None, "static", "threshold"])
def test_views_of_other_images_are_as_they_were_read(kind):
    modality = ImageModality(ImageConfig(data=DataConfig(binarize=kind)))
    x = everything(digits(kind).train)[:8]
    assert modality.augment(x, torch.Generator().manual_seed(0)) is x


def test_black_and_white_stay_as_they_are_when_drawn_anew():
    x = torch.tensor([[-1.0, 1.0]]).expand(2000, 2)
    assert torch.equal(drawn_anew(x, torch.Generator().manual_seed(0)), x)


@pytest.mark.parametrize("kind", KINDS)
def test_files_that_are_read_when_needed_are_drawn_as_those_in_memory(pictures, monkeypatch, kind):
    config = DataConfig(name="folder", root=pictures, size=8, color="grey", validation_share=0.3, binarize=kind)
    in_memory = load_datasets(config)
    monkeypatch.setattr(datasets, "_IN_MEMORY_BYTES", 0)
    streamed = load_datasets(config)
    assert isinstance(streamed.validation, ImageFiles)
    for one, other in ((in_memory.train, streamed.train), (in_memory.validation, streamed.validation)):
        assert torch.equal(everything(one), everything(other))
    assert set(everything(streamed.validation).unique().tolist()) == {-1, 1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_users_file_is_read_in_black_and_white_and_a_written_one_as_it_is(pictures, kind):
    modality = ImageModality(ImageConfig(data=DataConfig(binarize=kind)))
    x = modality.read(pictures / "00.png")
    assert set(x.unique().tolist()) == {-1, 1}
    assert torch.equal(x, modality.read(pictures / "00.png"))
    assert torch.equal(x, next(iter(modality.open_to_restore(pictures / "00.png"))))
    modality.write(x, pictures / "written.png")
    assert torch.equal(modality.read(pictures / "written.png"), x)


def test_what_is_found_says_how_images_became_black_and_white():
    notes = {kind: digits(kind, binarize_seed=7).counted().notes for kind in (None, *KINDS)}
    assert notes[None] == ()
    assert len({said for (said,) in (notes[kind] for kind in KINDS)}) == 3
    assert all("seed 7" in notes[kind][0] for kind in ("static", "dynamic"))


def test_colours_are_drawn_value_by_value(pictures):
    config = DataConfig(name="folder", root=pictures, size=8, color="rgb", validation_share=0.3, binarize="static")
    x = everything(load_datasets(config).train)
    assert not torch.equal(x[:, 0], x[:, 1])
    assert torch.equal(to_float(to_uint8(x)), x)
