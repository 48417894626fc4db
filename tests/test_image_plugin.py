"""The image plugin: networks, losses, metrics, files, previews, and the contract it keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageSequence
from pydantic import ValidationError
from torch import Tensor

from anytime_core.discovery.plugins import load_modality
from anytime_core.errors import DataError
from anytime_core.modality import API_VERSION, Modality, PreviewRow, ShowsGrowth
from anytime_image.config import ImageConfig
from anytime_image.modality import ImageModality

NETWORKS = [
    ({"size": 8, "color": "grey"}, {"widths": [4], "channels": 5}),
    ({"size": 8, "color": "rgb"}, {"widths": [4, 6, 8], "channels": 3}),
    ({"size": 28, "color": "grey"}, {"widths": [6, 4], "channels": 7, "depth": 2}),
    ({"size": 28, "color": "rgb"}, {"kind": "residual", "widths": [4, 6], "channels": 2, "decoder_norm": "group"}),
    ({"size": 32, "color": "rgb"}, {"kind": "residual", "widths": [3, 5], "depth": 2, "encoder_norm": "group"}),
    ({"size": 64, "color": "rgb"}, {"widths": [4, 4, 4], "encoder_norm": "group", "decoder_norm": "group"}),
]
SIZES = [4, 8, 28, 64]
METRICS = ["mse", "psnr", "ssim"]


def image_modality(data: dict[str, object] | None = None, **sections: object) -> ImageModality:
    return ImageModality(ImageConfig.model_validate({"data": data or {}, **sections}))


def images(batch: int, channels: int = 1, size: int = 8, *, seed: int = 0) -> Tensor:
    return torch.rand(batch, channels, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_the_modality_keeps_the_contract_of_its_protocol():
    modality = load_modality("image")
    assert modality is ImageModality
    assert isinstance(modality(ImageConfig()), Modality)
    assert modality.api_version == API_VERSION


def test_a_modality_without_a_config_has_the_default_one():
    assert ImageModality().config == ImageConfig()
    assert ImageModality().sample_shape() == (1, 8, 8)


@pytest.mark.parametrize(
    ("data", "shape"),
    [
        ({"name": "digits"}, (1, 8, 8)),
        ({"name": "mnist"}, (1, 28, 28)),
        ({"name": "fashion-mnist", "color": "rgb"}, (3, 28, 28)),
        ({"name": "cifar10"}, (3, 32, 32)),
        ({"name": "celeba"}, (3, 64, 64)),
        ({"name": "folder", "size": 128, "color": "grey"}, (1, 128, 128)),
        ({"name": "webdataset"}, (3, 64, 64)),
    ],
)
def test_the_shape_of_a_sample_follows_from_the_config_alone(data, shape):
    assert image_modality(data).sample_shape() == shape


@pytest.mark.parametrize(("data", "network"), NETWORKS)
def test_encoder_halves_once_for_each_width_and_decoder_goes_back(data, network):
    modality = image_modality(data, network=network)
    x = images(2, *modality.sample_shape()[:2])
    latent = modality.encoder()(x)
    side, channels = data["size"] // 2 ** len(network["widths"]), modality.config.network.channels
    assert latent.shape == (2, channels, side, side)
    assert torch.isfinite(latent).all()
    for decoder_channels in (channels + 1, 2 * channels):
        x_hat = modality.decoder(decoder_channels)(torch.randn(2, decoder_channels, side, side))
        assert x_hat.shape == x.shape
        assert x_hat.abs().max() <= 1


@pytest.mark.parametrize(("data", "network"), NETWORKS)
def test_the_loss_reaches_every_weight_of_encoder_and_decoder(data, network):
    modality = image_modality(data, network=network)
    encoder, decoder = modality.encoder(), modality.decoder(modality.config.network.channels)
    x = images(3, *modality.sample_shape()[:2])
    modality.reconstruction_loss(decoder(encoder(x)), x).mean().backward()
    for module in (encoder, decoder):
        assert [name for name, weight in module.named_parameters() if weight.grad is None] == []


def test_in_evaluation_a_sample_does_not_depend_on_the_rest_of_its_batch():
    modality = image_modality(network={"kind": "residual", "depth": 1, "widths": [4, 8]})
    encoder, decoder = modality.encoder().eval(), modality.decoder(32).eval()
    x = images(5)
    with torch.no_grad():
        torch.testing.assert_close(decoder(encoder(x))[2:3], decoder(encoder(x[2:3])))


@pytest.mark.parametrize(("size", "widths", "side"), [(30, [4, 4], 8), (9, [4], 5), (28, [4, 4, 4], 4)])
def test_a_size_that_halves_unevenly_is_padded_for_the_networks_and_cropped_after_them(size, widths, side):
    modality = image_modality({"size": size}, network={"widths": widths})
    x = images(2, 1, size)
    latent = modality.encoder()(x)
    assert latent.shape == (2, 32, side, side)
    assert modality.decoder(32)(latent).shape == x.shape


def test_weights_of_a_size_that_halves_evenly_have_the_names_that_they_always_had():
    names = [*image_modality({"size": 8}, network={"widths": [4, 4]}).encoder().state_dict()]
    assert names[0] == "0.weight"


@pytest.mark.parametrize(("size", "widths"), [(4, [4, 4, 4]), (15, [4] * 4)])
def test_a_size_that_cannot_be_halved_often_enough_is_refused_with_the_way_out(size, widths):
    with pytest.raises(ValidationError) as error:
        ImageConfig.model_validate({"data": {"size": size}, "network": {"widths": widths}})
    least, most = 2 ** len(widths), len(widths) - 1
    for part in (f"data.size={size} ", str(widths), f"data.size={least} or more", f"at most {most} widths"):
        assert part in str(error.value)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("batch", [1, 3])
def test_metrics_of_equal_images_are_perfect_one_for_each_image(batch, size, channels):
    x = images(batch, channels, size)
    values = {name: metric(x.clone(), x) for name, metric in ImageModality().metrics().items()}
    assert values.keys() == set(METRICS)
    for name, perfect in (("mse", 0), ("ssim", 1), ("psnr", 100)):
        assert values[name].shape == (batch,)
        assert values[name].tolist() == pytest.approx([perfect] * batch, abs=1e-4)


@pytest.mark.parametrize(
    ("size", "channels", "expected"),
    [
        (4, 1, [0.75059, 0.73745]),
        (8, 1, [0.77765, 0.66533]),
        (8, 3, [0.72166, 0.62364]),
        (28, 3, [0.63020, 0.62735]),
    ],
)
def test_structural_similarity_is_what_torchmetrics_makes_of_the_same_images(size, channels, expected):
    x = images(2, channels, size)
    x_hat = (x + images(2, channels, size, seed=1) / 2).clamp(-1, 1)
    assert ImageModality().metrics()["ssim"](x_hat, x).tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", METRICS)
def test_metrics_of_any_images_are_finite(name, size):
    ones = torch.ones(4, 1, size, size)
    x_hat = torch.stack([*images(2, 1, size), ones[0], -ones[0], ones[0]])
    x = torch.stack([*images(2, 1, size, seed=1), -ones[0], images(1, 1, size)[0], ones[0]])
    assert torch.isfinite(ImageModality().metrics()[name](x_hat, x)).all()


@pytest.mark.parametrize("name", [*METRICS, "l1 loss", "mse loss"])
def test_measures_of_an_image_do_not_depend_on_the_rest_of_the_batch(name):
    measure = (
        image_modality(loss=name.removesuffix(" loss")).reconstruction_loss
        if name.endswith(" loss")
        else ImageModality().metrics()[name]
    )
    x, x_hat = images(4, 3, 16), images(4, 3, 16, seed=1)
    singly = torch.cat([measure(x_hat[i : i + 1], x[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(measure(x_hat, x), singly)


@pytest.mark.parametrize(("loss", "expected"), [("mse", [0.0, 0.25, 0.5]), ("l1", [0.0, 0.5, 0.5])])
def test_losses_are_means_over_the_pixels_of_each_image(loss, expected):
    x = torch.zeros(3, 3, 4, 4)
    x_hat = x.clone()
    x_hat[1] = 0.5
    x_hat[2, :, :2] = 1.0
    assert image_modality(loss=loss).reconstruction_loss(x_hat, x).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("loss", ["mse", "l1"])
def test_closer_images_are_better_by_every_measure(loss):
    modality = image_modality(loss=loss)
    x, error = images(3, 3, 16), 0.2 * images(3, 3, 16, seed=1)
    amounts = (0.0, 0.3, 0.6, 1.0)
    for name, measure in {"loss": modality.reconstruction_loss, **modality.metrics()}.items():
        sign = 1 if name in ("loss", "mse") else -1
        values = torch.stack([sign * measure(x + amount * error, x) for amount in amounts])
        assert (values.diff(dim=0) > 0).all(), name


@pytest.mark.parametrize("color", ["grey", "rgb"])
@pytest.mark.parametrize("size", [4, 8, 28])
def test_a_written_image_reads_back_within_half_a_step_of_grey(size, color, tmp_path):
    modality = image_modality({"size": size, "color": color})
    (x,) = images(1, *modality.sample_shape()[:2])
    path = tmp_path / f"sample{modality.suffixes[0]}"
    modality.write(x, path)
    read = modality.read(path)
    assert read.dtype == torch.float32
    torch.testing.assert_close(read, x, rtol=0, atol=1 / 255 + 1e-6)


def test_values_outside_the_range_are_clipped_in_the_file(tmp_path):
    modality = ImageModality()
    x = torch.full((1, 8, 8), 3.0)
    x[:, 4:] = -3.0
    modality.write(x, tmp_path / "x.png")
    assert torch.equal(modality.read(tmp_path / "x.png"), x.clamp(-1, 1))


def test_a_users_image_of_another_size_and_colour_is_brought_into_shape(tmp_path):
    Image.new("RGB", (50, 31), (255, 255, 255)).save(tmp_path / "mine.jpg")
    x = ImageModality().read(tmp_path / "mine.jpg")
    assert x.shape == (1, 8, 8)
    assert x.min() > 0.98


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "song.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"song\.wav"):
        ImageModality().read(tmp_path / "song.wav")


@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 8), (3, 28), (1, 64), (3, 128)])
@pytest.mark.parametrize("columns", [[1], [3, 5]])
def test_a_preview_is_a_picture_with_room_for_every_image(columns, channels, size, tmp_path):
    rows = [PreviewRow(f"{number} codes", images(number, channels, size)) for number in columns]
    ImageModality().preview(rows, tmp_path / "preview.png")
    with Image.open(tmp_path / "preview.png") as picture:
        picture.load()
    assert (picture.format, picture.mode) == ("PNG", "RGB")
    tile = max(size, 56)  # small images are enlarged
    assert max(columns) * tile <= picture.width <= max(columns) * 1.3 * tile + 150
    assert len(columns) * tile <= picture.height <= len(columns) * 1.3 * tile


def test_a_preview_shows_the_images_and_their_captions(tmp_path):
    def corner(x: Tensor, caption: str) -> tuple[Image.Image, tuple[int, int, int]]:
        ImageModality().preview([PreviewRow(caption, x)], tmp_path / "preview.png")
        with Image.open(tmp_path / "preview.png") as picture:
            picture.load()
        return picture, picture.getpixel((picture.width - 20, picture.height // 2))

    red = torch.tensor([1.0, -1.0, -1.0])[:, None, None].expand(2, 3, 8, 8)
    plain, pixel = corner(red, "")
    assert pixel == (255, 0, 0)
    captioned, pixel = corner(red, "60 %")
    assert pixel == (255, 0, 0)
    assert captioned.width > plain.width
    margin = captioned.crop((0, 0, captioned.width - plain.width, captioned.height))
    assert margin.convert("L").getextrema()[0] < 100, "no dark letters left of the images"


def frames_of(path: Path) -> tuple[list[Image.Image], list[int]]:
    """The frames of an animation in RGB, and for how many milliseconds each is shown."""
    with Image.open(path) as animation:
        frames, shown = [], []
        for frame in ImageSequence.Iterator(animation):
            frames.append(frame.convert("RGB"))
            shown.append(animation.info["duration"])
        return frames, shown


def grown(channels: int, size: int, number: int) -> list[Tensor]:
    """Pictures that grow brighter."""
    return [torch.full((channels, size, size), -1 + 2 * step / number) for step in range(number)]


def test_the_modality_shows_growth():
    assert isinstance(ImageModality(), ShowsGrowth)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 28, 64, 100])
@pytest.mark.parametrize("number", [2, 5])
def test_growth_is_a_strip_of_all_steps_and_an_animation_of_as_many_frames(number, size, channels, tmp_path):
    steps = grown(channels, size, number)
    ImageModality().write_growth(steps, tmp_path / "000007")
    assert {path.name for path in tmp_path.iterdir()} == {"000007-strip.png", "000007.gif"}
    expected = [round(255 * step / number) for step in range(number)]
    with Image.open(tmp_path / "000007-strip.png") as strip:
        assert strip.format == "PNG"
        width, middle = strip.width / number, strip.height // 2
        seen = [strip.convert("RGB").getpixel((int((step + 0.5) * width), middle)) for step in range(number)]
    assert seen == [(value,) * 3 for value in expected]
    frames, shown = frames_of(tmp_path / "000007.gif")
    assert len(frames) == number
    for frame, value in zip(frames, expected, strict=True):
        assert frame.size == (frames[0].width, frames[0].width)
        assert frame.width >= max(size, 56)
        assert frame.getcolors() == [(frame.width**2, (value,) * 3)]
    assert shown == [500] * (number - 1) + [1500]
    with Image.open(tmp_path / "000007.gif") as animation:
        assert (animation.format, animation.info["loop"]) == ("GIF", 0)


@pytest.mark.parametrize("channels", [1, 3])
def test_growth_of_one_step_is_one_picture(channels, tmp_path):
    (x,) = images(1, channels)
    ImageModality().write_growth([x], tmp_path / "000007")
    frames, _ = frames_of(tmp_path / "000007.gif")
    assert len(frames) == 1
    with Image.open(tmp_path / "000007-strip.png") as strip:
        assert strip.width == strip.height


def test_steps_that_look_the_same_are_shown_as_long_as_others(tmp_path):
    dark, bright = grown(1, 8, 2)
    ImageModality().write_growth([dark, dark, bright, bright, bright], tmp_path / "000007")
    frames, shown = frames_of(tmp_path / "000007.gif")
    assert [frame.getpixel((0, 0))[0] for frame in frames] == [0, 128]
    assert shown == [1000, 2500]


def test_frames_of_an_animation_are_the_pictures_of_the_steps(tmp_path):
    steps = list(images(3, 1, 16))
    ImageModality().write_growth(steps, tmp_path / "000007")
    frames, _ = frames_of(tmp_path / "000007.gif")
    for number, (frame, x) in enumerate(zip(frames, steps, strict=True)):
        ImageModality().write(x, tmp_path / f"{number}.png")
        with Image.open(tmp_path / f"{number}.png") as picture:
            enlarged = picture.convert("RGB").resize(frame.size, Image.Resampling.NEAREST)
        assert frame.tobytes() == enlarged.tobytes()


def test_growth_is_written_beside_other_files_of_that_name(tmp_path):
    (tmp_path / "000007.png").write_bytes(b"sample")
    ImageModality().write_growth(grown(1, 8, 3), tmp_path / "000007")
    assert (tmp_path / "000007.png").read_bytes() == b"sample"
    assert len(list(tmp_path.iterdir())) == 3


def test_growth_leaves_its_steps_as_they_are(tmp_path):
    steps = [3 * x for x in images(3, 3)]
    before = [x.clone() for x in steps]
    ImageModality().write_growth(steps, tmp_path / "000007")
    assert all(torch.equal(x, old) for x, old in zip(steps, before, strict=True))


def test_flipping_mirrors_about_half_of_the_images_and_leaves_the_others(digits_like):
    flipped = image_modality({"flip": True}).augment(digits_like, torch.Generator().manual_seed(0))
    mirrored = (flipped == digits_like.flip(-1)).flatten(1).all(1)
    same = (flipped == digits_like).flatten(1).all(1)
    assert (mirrored ^ same).all()
    assert 160 <= mirrored.sum() <= 240


def test_shifting_moves_each_image_by_up_to_so_many_pixels_and_repeats_the_edge(digits_like):
    shifted = image_modality({"shift": 1}).augment(digits_like, torch.Generator().manual_seed(0))
    height, width = digits_like.shape[-2:]
    rows, columns = torch.arange(height), torch.arange(width)
    moves = {
        (down, right): digits_like[:, :, (rows - down).clamp(0, height - 1)][..., (columns - right).clamp(0, width - 1)]
        for down in (-1, 0, 1)
        for right in (-1, 0, 1)
    }
    taken = torch.stack([(shifted == moved).flatten(1).all(1) for moved in moves.values()])
    assert taken.any(0).all()
    assert (taken.sum(1) >= 20).all(), "each of the nine moves is drawn"


@pytest.mark.parametrize("options", [{"flip": True}, {"shift": 2}, {"flip": True, "shift": 1}])
def test_augmenting_follows_from_the_generator_alone(digits_like, options):
    modality = image_modality(options)
    first, again, other = (modality.augment(digits_like, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_without_flipping_and_shifting_augmentation_changes_nothing(digits_like):
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(image_modality({"flip": False, "shift": 0}).augment(digits_like, generator), digits_like)


@pytest.fixture
def digits_like() -> Tensor:
    return images(400)


@settings(deadline=None, max_examples=25)
@given(batch=st.integers(1, 5), seed=st.integers(0, 2**32), channels=st.sampled_from([1, 3]))
def test_augmented_images_have_the_shape_and_values_of_the_originals(batch, seed, channels):
    x = images(batch, channels, seed=seed)
    view = image_modality({"flip": True}).augment(x, torch.Generator().manual_seed(seed))
    assert view.shape == x.shape
    assert torch.equal(view.sort(-1).values, x.sort(-1).values)
