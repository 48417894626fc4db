"""Codes that are the values of samples: their orders, what stands in for missing ones, and the commands around them.

n is a prefix length.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from conftest import TINY, tiny_config
from torch import Tensor

from anytime_core.autoencoder import OrderedAutoencoder, build_autoencoder
from anytime_core.config import AutoencoderConfig
from anytime_core.config_parsing import apply_overrides, parse_config
from anytime_core.discovery.baselines import find_baseline
from anytime_core.errors import ConfigError, RunError
from anytime_core.identity import neighbours
from anytime_core.priors.grid.orders import subscale_order
from anytime_core.quantizers.config import LevelsConfig, VQConfig
from anytime_core.quantizers.levels import BitPlanes
from anytime_core.run import load
from anytime_core.testing import QuantizerContract
from anytime_core.training.train import train_stages
from anytime_core.weights import AutoencoderMetadata, load_autoencoder, read_weights, save_weights
from anytime_image.config import ImageConfig


class Shaped:
    """A modality of samples of one shape, as far as codes that are values need it."""

    name = "shaped"

    def __init__(self, *shape: int) -> None:
        self.shape = shape

    def sample_shape(self) -> tuple[int, ...]:
        return self.shape

    def encoder(self) -> torch.nn.Module:
        return torch.nn.Identity()


def identity(shape: tuple[int, ...], size: int = 16, **fields: Any) -> OrderedAutoencoder:
    """The autoencoder of samples of `shape`."""
    section = {"kind": "identity", "tell_decoder": False, "quantizer": {"kind": "levels", "size": size}, **fields}
    modality: Any = Shaped(*shape)
    return build_autoencoder(modality, AutoencoderConfig.model_validate(section)).eval()


def levels(*shape: int, size: int = 16) -> Tensor:
    """Samples [3, *shape] whose values are levels."""
    drawn = torch.randint(size, (3, *shape), generator=torch.Generator().manual_seed(0))
    return torch.linspace(-1, 1, size)[drawn]


ORDERS: dict[str, dict[str, Any]] = {
    "raster": {},
    "subscale": {"order": "subscale", "slices": 2},
    "multiscale": {"order": "multiscale", "slices": 4},
    "bits": {"order": "bits"},
}
SHAPES = [(1, 4, 8), (3, 4, 4), (2, 8)]


class BitsConfig(LevelsConfig):
    @property
    def codebook_size(self) -> int:
        return 2


class TestBitPlanes(QuantizerContract):
    quantizer = BitPlanes
    section = BitsConfig
    config: ClassVar = {"size": 8}


@pytest.mark.parametrize("missing", ["zeros", "neighbours"])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_levels_go_through_codes_unchanged_and_a_prefix_needs_no_later_code(shape, order, missing):
    autoencoder, x = identity(shape, missing=missing, **ORDERS[order]), levels(*shape)
    codes = autoencoder.encode(x)
    spec = autoencoder.spec
    assert codes.shape == (3, spec.length)
    assert (codes.min() >= 0, codes.max() < spec.size) == (True, True)
    torch.testing.assert_close(autoencoder.decode(codes), x, rtol=0, atol=1e-6)
    others = torch.randint(spec.size, codes.shape)
    for n in range(1, spec.length + 1):
        prefix = autoencoder.decode(codes[:, :n])
        assert torch.equal(prefix, autoencoder.decode(torch.cat([codes[:, :n], others[:, n:]], 1), n))
    lengths = torch.tensor([1, spec.length, spec.length // 2])
    each = torch.cat([autoencoder.decode(codes[i : i + 1], int(n)) for i, n in enumerate(lengths)])
    assert torch.equal(autoencoder.decode(codes, lengths), each)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_order_says_where_each_code_stands(shape, order):
    autoencoder, x = identity(shape, **ORDERS[order]), levels(*shape)
    spec, codes = autoencoder.spec, autoencoder.encode(x)
    cells = torch.arange(spec.length) if spec.order is None else torch.tensor(spec.order)
    grid = torch.empty_like(codes)
    grid[:, cells] = codes
    grid = grid.unflatten(1, spec.grid)
    if order == "bits":
        assert spec.grid == (4, *shape)
        weights = torch.tensor([8, 4, 2, 1]).view(-1, *(1 for _ in shape))
        grid = (grid * weights).sum(1)
    assert torch.equal(torch.linspace(-1, 1, 16)[grid], x)
    assert spec.levels == (None if order == "bits" else tuple(torch.linspace(-1, 1, 16).tolist()))


def test_colours_of_a_place_follow_each_other_and_one_colour_needs_no_order():
    assert identity((3, 1, 2)).spec.order == (0, 2, 4, 1, 3, 5)
    assert identity((1, 2, 2)).spec.order is None
    assert identity((3, 1, 2), size=4, order="bits").spec.order == (0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11)


def test_values_are_rounded_to_the_nearest_level():
    x = torch.linspace(-1.5, 1.5, 301).view(1, 1, 1, 301)
    for size in (2, 3, 256):
        table = torch.linspace(-1, 1, size)
        found = identity((1, 1, 301), size).encode(x)[0]
        away = (x.flatten().unsqueeze(1) - table).abs()
        nearest = away.min(1).values
        torch.testing.assert_close(away.gather(1, found.unsqueeze(1)).squeeze(1), nearest, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("order", "scale"), [("raster", 1), ("subscale", 2), ("subscale", 4), ("multiscale", 4)])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 4, 8), (2, 8)], ids=str)
def test_missing_values_are_those_of_cells_that_come_earlier_and_lie_above_or_to_the_left(shape, order, scale):
    fields = {} if scale == 1 else {"order": order, "slices": scale}
    spec = identity(shape, **fields).spec
    positions = torch.empty(spec.length, dtype=torch.int64)
    positions[torch.arange(spec.length) if spec.order is None else torch.tensor(spec.order)] = torch.arange(spec.length)
    around = neighbours(shape, order, scale)
    first = positions == 0
    assert torch.equal(around[first], torch.arange(spec.length)[first])
    assert (positions[around] < positions)[~first].all()
    apart = torch.stack(torch.unravel_index(torch.arange(spec.length), shape))[1:]
    apart = apart - torch.stack(torch.unravel_index(around, shape))[1:]
    assert ((apart > 0).sum(0) <= 1).all()  # along one axis
    assert (apart.min(), apart.max()) == (0, scale)


def test_a_prefix_of_a_raster_repeats_its_last_row():
    x = levels(1, 4, 5)
    autoencoder = identity((1, 4, 5))
    rows = autoencoder.decode(autoencoder.encode(x), 10)
    assert torch.equal(rows[:, :, :2], x[:, :, :2])
    assert torch.equal(rows[:, :, 2:], x[:, :, 1:2].expand(-1, -1, 2, -1))
    within = autoencoder.decode(autoencoder.encode(x), 12)[:, 0]
    mixed = torch.cat([x[:, 0, 2, :2], x[:, 0, 1, 2:]], 1)
    assert torch.equal(within[:, 2:], mixed.unsqueeze(1).expand(-1, 2, -1))
    black = identity((1, 4, 5), missing="zeros")
    assert not black.decode(black.encode(x), 10)[:, :, 2:].any()


@pytest.mark.parametrize(("order", "scale"), [("subscale", 2), ("subscale", 4), ("multiscale", 4)])
def test_the_first_slice_is_a_smaller_picture_scaled_up(order, scale):
    x = levels(3, 8, 8)
    autoencoder = identity((3, 8, 8), order=order, slices=scale)
    codes = autoencoder.encode(x)
    coarse = x[:, :, ::scale, ::scale]
    expected = coarse.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    assert torch.equal(autoencoder.decode(codes, 3 * (8 // scale) ** 2), expected)


def test_each_doubling_of_a_multiscale_order_ends_with_a_whole_picture():
    x = levels(1, 8, 8)
    autoencoder = identity((1, 8, 8), order="multiscale", slices=4)
    twice = autoencoder.decode(autoencoder.encode(x), 16)
    assert torch.equal(twice, x[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_each_plane_of_bits_halves_the_interval_of_every_value():
    x = levels(1, 4, 4)
    autoencoder = identity((1, 4, 4), order="bits")
    codes = autoencoder.encode(x)
    numbers = ((x + 1) / 2 * 15).round()
    for bits in range(1, 5):
        width = 2 ** (4 - bits)
        middle = (numbers // width) * width + (width - 1) / 2
        torch.testing.assert_close(autoencoder.decode(codes, 16 * bits), middle / 15 * 2 - 1, rtol=0, atol=1e-6)


MISTAKES = [
    ({"order": "subscale", "slices": 3}, "3 slices a side do not divide a grid of 8x8 cells: use 2, 4"),
    ({"order": "subscale", "slices": 8}, "8 slices a side leave a cell each of a grid of 8x8 cells: use 2, 4"),
    ({"order": "multiscale", "slices": 3}, "a scale of 3 is not doubled to 1: use a power of two, such as 2 or 4"),
    (
        {"order": "bits", "size": 100},
        "order=bits needs a power of two as autoencoder.quantizer.size, found 100: use 64",
    ),
    ({"slices": 2}, "autoencoder.slices=2 means nothing with autoencoder.order=raster"),
    ({"order": "bits", "slices": 2}, "slices=2 means nothing with autoencoder.order=bits"),
    ({"tell_decoder": True}, "as --baseline identity sets them"),
    ({"quantizer": {"kind": "vq", "shared": True}}, "it needs autoencoder.quantizer of kind=levels"),
    ({"kind": "ordered"}, "autoencoder.quantizer.kind=levels rounds the values of samples"),
    ({"kind": "ordered", "quantizer": {"kind": "vq"}, "order": "raster"}, "autoencoder.order=raster is for"),
    ({"kind": "pca", "quantizer": {"kind": "vq", "shared": False}, "missing": "zeros"}, "autoencoder.missing=zeros is"),
]


@pytest.mark.parametrize(("fields", "message"), MISTAKES, ids=lambda value: str(value)[:40])
def test_what_does_not_fit_is_refused_in_one_line(fields, message):
    with pytest.raises((ConfigError, ValueError), match=message):
        identity((1, 8, 8), **fields)


def test_more_values_than_can_be_put_in_order_are_refused_and_a_plain_raster_needs_no_order():
    with pytest.raises(
        ConfigError, match="makes 786,432 codes of a sample of 3x512x512 values, more than 262,144, the"
    ):
        identity((3, 512, 512))
    with pytest.raises(ConfigError, match=r"makes 17,600,000 codes .*, more than 16,777,216: use smaller"):
        identity((1, 1_100_000), 2**16, order="bits")
    assert identity((1, 600, 600)).spec.order is None


def test_a_baseline_of_another_kind_takes_the_order_away():
    ordered = tiny_config("autoencoder.order=subscale", "autoencoder.slices=4", baseline="identity")
    overrides = find_baseline("pca").overrides(ordered.core.autoencoder.quantizer)
    found = parse_config(apply_overrides(ordered.to_dict(), overrides), ImageConfig).core.autoencoder
    assert (found.kind, found.order, found.slices, found.quantizer.codebook_size) == ("pca", None, None, 256)


def changed(*settings: str) -> list[str]:
    return [argument for setting in settings for argument in ("--set", setting)]


@pytest.fixture(scope="module")
def subscaled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose codes are pixels in subscale order; tests must not change it."""
    folder = tmp_path_factory.mktemp("identity") / "run"
    overrides = ("autoencoder.quantizer.size=17", "autoencoder.order=subscale", "prior.layers=1")
    train_stages(tiny_config(*overrides, "training.prior.steps=2", baseline="identity"), folder)
    return folder


def test_a_run_of_pixels_is_what_it_was_when_it_is_loaded(subscaled, tmp_path):
    run = load(subscaled, device="cpu")
    x = run.modality.datasets().validation.batch(range(5))["x"]
    coarse = x[:, :, ::2, ::2].repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(run.reconstruct(x, 0.25), coarse, atol=0.004, rtol=0)  # the data is rounded to 8 bits
    assert run.prior.spec.order == run.autoencoder.spec.order == subscale_order(1, (8, 8), 2)
    assert not run.autoencoder.state_dict()  # the config says it all


def test_commands_say_once_what_a_smaller_budget_gives(subscaled, anytime, tmp_path):
    said = "a smaller picture, scaled up"
    for arguments, times in ((("--budget", "0.25"), 1), ((), 0), (("--progressive",), 1), (("--budget", "63codes"), 1)):
        result = anytime("sample", "--run", subscaled, "--num", 2, *arguments, "--out", tmp_path / "-".join(arguments))
        assert (result.status, result.err.count(said)) == (0, times), result.err
    picture = next((tmp_path / "--progressive").glob("*.png"))
    for budget, times in (("0.25", 1), ("1.0", 0)):
        result = anytime("reconstruct", picture, "--run", subscaled, "--budget", budget, "--out", tmp_path / budget)
        assert (result.status, result.err.count(said)) == (0, times), result.err


def test_codes_of_pixels_with_a_codebook_are_refused_in_one_line(subscaled, tmp_path):
    path = tmp_path / "autoencoder.safetensors"
    _, metadata = read_weights(subscaled / path.name, AutoencoderMetadata)
    old = metadata.autoencoder.model_copy(update={"quantizer": VQConfig(size=17)})
    save_weights(path, load(subscaled, device="cpu").autoencoder, metadata.model_copy(update={"autoencoder": old}))
    with pytest.raises(RunError, match="as --baseline identity sets them") as error:
        load_autoencoder(path)
    assert "\n" not in str(error.value)


def test_the_baseline_takes_an_order_of_its_own(anytime, tmp_path):
    (tmp_path / "pixels.yaml").write_text(json.dumps(TINY))
    start = ("train", "--config", tmp_path / "pixels.yaml", "--baseline", "identity", "--run", tmp_path / "run")
    refused = anytime(*start, *changed("autoencoder.order=subscale", "autoencoder.slices=3"))
    assert (refused.status, (tmp_path / "run").exists()) == (2, False)
    assert "3 slices a side do not divide a grid of 8x8 cells" in refused.err
    other = anytime("train", "--config", tmp_path / "pixels.yaml", *changed("autoencoder.order=bits"))
    assert other.status == 2
    assert "autoencoder.order=bits is for autoencoder.kind=identity" in other.err
