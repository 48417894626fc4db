"""Baselines: what each makes of every recipe, and a run of two of them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
import yaml
from conftest import TINY, tiny_config
from hypothesis import given
from hypothesis import strategies as st

from anytime_core.autoencoder import build_autoencoder
from anytime_core.config import Config
from anytime_core.config_parsing import apply_overrides, parse_config
from anytime_core.discovery.baselines import BASELINES, find_baseline, fsq_levels
from anytime_core.discovery.plugins import load_modality
from anytime_core.discovery.recipes import find_recipe, list_recipes
from anytime_core.errors import ConfigError, UsageError
from anytime_core.quantizers.config import FSQConfig, VQConfig
from anytime_core.record import read_record
from anytime_core.run import load
from anytime_core.weights import load_autoencoder, save_autoencoder
from anytime_image.modality import ImageModality

NAMES = [name for name in BASELINES if name != "dedicated-N"] + ["dedicated-8"]
RECIPES = [recipe.name for recipe in list_recipes()]
OF_NETWORKS = [name for name in NAMES if name.startswith(("quantizer-", "dedicated-"))]
"""Baselines that recipes of pixels cannot have, as they have no networks."""


def composed(recipe: str, baseline: str | None = None, *overrides: str) -> Config:
    data, sections = find_recipe(recipe).read(), load_modality(recipe.partition("/")[0]).Config
    if baseline is not None:
        quantizer = parse_config(data, sections).core.autoencoder.quantizer
        data = apply_overrides(data, find_baseline(baseline).overrides(quantizer), sections)
    return parse_config(apply_overrides(data, overrides, sections), sections)


@pytest.mark.parametrize("baseline", NAMES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_baseline_changes_a_recipe_in_its_autoencoder_and_length_only(recipe, baseline):
    before = composed(recipe)
    if before.core.autoencoder.kind == "identity" and baseline in OF_NETWORKS:
        with pytest.raises(ConfigError, match="identity has no networks: it needs"):
            composed(recipe, baseline)
        return
    after = composed(recipe, baseline)
    autoencoder, prior = before.core.autoencoder, before.core.prior
    shared = after.core.model_copy(update={"autoencoder": autoencoder, "prior": prior})
    assert (shared, after.modality) == (before.core, before.modality)
    assert after.core.prior.model_copy(update={"code_length": prior.code_length}) == prior


@pytest.mark.parametrize("kind", ["kind=fsq, levels=[4, 4]", "kind=none", "size=16"])
@pytest.mark.parametrize("baseline", [name for name in NAMES if name.startswith("quantizer-")])
def test_a_quantizer_baseline_keeps_the_codebook_size_of_any_quantizer(kind, baseline):
    before = composed("image/digits", None, f"autoencoder.quantizer={{{kind.replace('=', ': ')}}}")
    overrides = find_baseline(baseline).overrides(before.core.autoencoder.quantizer)
    quantizer = parse_config(
        apply_overrides(before.to_dict(), overrides), ImageModality.Config
    ).core.autoencoder.quantizer
    size = math.prod(quantizer.levels) if isinstance(quantizer, FSQConfig) else quantizer.size
    assert size == (VQConfig().size if kind == "kind=none" else 16)


def test_baselines_say_what_their_names_do():
    autoencoders = {name: composed("image/mnist", name).core.autoencoder for name in NAMES}
    truncations = {name: autoencoder.truncation for name, autoencoder in autoencoders.items()}
    assert truncations["unordered"].distribution == truncations["dedicated-8"].distribution == "none"
    assert autoencoders["dedicated-8"].code_length == 8
    assert autoencoders["spatial"].axis == "spatial"
    assert autoencoders["pca"].kind == "pca"
    assert autoencoders["identity"].kind == "identity"
    for distribution in ("uniform", "geometric", "powers-of-two"):
        assert truncations[f"truncation-{distribution}"].distribution == distribution.replace("-", "_")
    assert truncations["truncation-both"].decode == "both"
    for name, share in (("always", 0), ("share-25", 0.25), ("share-50", 0.5)):
        truncation = truncations[f"truncation-{name}"]
        assert (truncation.decode, truncation.full_share) == ("share", share)
    quantizers = {name: autoencoder.quantizer for name, autoencoder in autoencoders.items()}
    trained = VQConfig(size=256, shared=False, commitment=0.83)
    assert quantizers["quantizer-ema"] == quantizers["unordered"] == trained
    assert quantizers["quantizer-gradient"] == trained.model_copy(update={"update": "gradient"})
    assert quantizers["quantizer-per-position"] == quantizers["pca"] == trained
    assert quantizers["quantizer-shared"] == trained.model_copy(update={"shared": True})
    assert quantizers["quantizer-fsq"] == FSQConfig(levels=(7, 6, 6))


def test_overrides_apply_after_the_baseline():
    config = composed("image/mnist", "pca", "autoencoder.code_length=5", "autoencoder.quantizer.size=9")
    assert (config.core.autoencoder.code_length, config.core.autoencoder.quantizer.size) == (5, 9)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("unorderd", "did you mean 'unordered'?"),
        ("", "unordered"),
        ("dedicated", "with a number for N"),
        ("dedicated-N", "with a number for N"),
        ("dedicated-0", "with a number for N"),
    ],
)
def test_an_unknown_baseline_is_answered_with_the_known_ones(name, hint):
    with pytest.raises(UsageError) as error:
        find_baseline(name)
    assert f"no baseline '{name}'" in str(error.value)
    assert hint in str(error.value)
    assert all(known in str(error.value) for known in BASELINES)


# Levels of finite scalar quantisation


@pytest.mark.parametrize(
    ("size", "levels"),
    [(2, (2,)), (16, (16,)), (25, (5, 5)), (32, (6, 5)), (64, (8, 8)), (512, (8, 8, 8)), (1024, (8, 5, 5, 5))],
)
def test_fsq_levels(size, levels):
    assert fsq_levels(size) == levels


@given(size=st.integers(2, 2**24))
def test_fsq_levels_come_close_to_any_codebook_size_and_are_a_valid_config(size):
    levels = FSQConfig(levels=fsq_levels(size)).levels
    assert size / 2 < math.prod(levels) <= size
    assert len(levels) == 1 or all(5 <= level <= 8 for level in levels)


# The first channels as codes


@pytest.mark.parametrize("tell_decoder", ["true", "false"])
def test_a_dedicated_model_keeps_the_first_channels(tell_decoder):
    torch.manual_seed(0)
    config = tiny_config("autoencoder.code_length=3", f"autoencoder.tell_decoder={tell_decoder}")
    autoencoder = build_autoencoder(ImageModality(config.modality), config.core.autoencoder).eval()
    x = torch.rand(4, 1, 8, 8)
    assert (autoencoder.code_length, autoencoder.latent_shape) == (3, (3, 4, 4))
    assert torch.equal(autoencoder.encode_vectors(x), autoencoder.encoder(x)[:, :3].flatten(2))
    codes = autoencoder.encode(x)
    assert codes.shape == (4, 3)
    assert autoencoder.decode(codes).shape == x.shape
    assert not torch.equal(autoencoder.decode(codes, 2), autoencoder.decode(codes))


def test_a_dedicated_model_is_loaded_as_it_was_saved(tmp_path):
    config = tiny_config("autoencoder.code_length=3")
    autoencoder = build_autoencoder(ImageModality(config.modality), config.core.autoencoder).eval()
    save_autoencoder(tmp_path / "weights", autoencoder, config)
    loaded, _ = load_autoencoder(tmp_path / "weights")
    x = torch.rand(4, 1, 8, 8)
    assert loaded.code_length == 3
    assert torch.equal(loaded.decode(loaded.encode(x)), autoencoder.decode(autoencoder.encode(x)))


def test_more_codes_than_channels_are_refused():
    config = tiny_config("autoencoder.code_length=9")
    with pytest.raises(ConfigError, match=r"autoencoder\.code_length=9 is more than the 8 channels"):
        build_autoencoder(ImageModality(config.modality), config.core.autoencoder)


def test_positions_are_not_cut():
    with pytest.raises(ConfigError, match=r"code_length=3 keeps channels.*use autoencoder\.axis=channel"):
        tiny_config("autoencoder.code_length=3", "autoencoder.axis=spatial")


# The command line


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    """A config that trains in half a second."""
    stage = {"steps": 3, "batch_size": 16, "validations": 1, "validation_samples": 32}
    training = {"device": "cpu", "precision": "float32", "autoencoder": stage, "prior": stage}
    path = tmp_path / "quick.yaml"
    path.write_text(yaml.safe_dump({**TINY, "training": training}))
    return path


@pytest.mark.parametrize(("baseline", "codes"), [("unordered", 8), ("pca", 8), ("dedicated-3", 3)])
def test_a_baseline_trains_into_a_folder_of_its_name_and_samples(anytime, quick, baseline, codes):
    result = anytime("train", "--config", quick, "--baseline", baseline, "--json")
    assert result.status == 0, result.err
    printed = json.loads(result.out)
    assert (printed["run"], printed["baseline"]) == (f"runs/quick-{baseline}-1", baseline)
    record = read_record(Path(printed["run"]))
    assert (record.recipe, record.baseline, record.code_length) == ("quick", baseline, codes)
    run = load(printed["run"], device="cpu")
    assert run.sample(2).codes.shape == (2, codes)


def test_a_run_goes_on_as_the_baseline_that_it_is(anytime, quick):
    start = ("--config", quick, "--baseline", "unordered", "--stage", "autoencoder", "--run", "here")
    assert anytime("train", *start, "--set", "prior.code_length=5").status == 0
    assert anytime("train", "--run", "here", "--stage", "codes").status == 0
    assert anytime("train", "--run", "here", "--baseline", "unordered").status == 0
    record = read_record(Path("here"))
    assert (record.baseline, list(record.stages)) == ("unordered", ["autoencoder", "codes", "prior"])
    assert load("here", device="cpu").require_prior().code_length == 5


def test_a_run_does_not_become_another_baseline(anytime, quick):
    assert anytime("train", "--config", quick, "--stage", "autoencoder", "--run", "here").status == 0
    result = anytime("train", "--run", "here", "--baseline", "unordered")
    assert result.status == 2
    assert "run here was not started with --baseline unordered: choose another --run" in result.err


def test_an_unknown_baseline_starts_nothing(anytime, quick, tmp_path):
    result = anytime("train", "--config", quick, "--baseline", "unorderd")
    assert result.status == 2
    assert "did you mean 'unordered'?" in result.err
    assert not (tmp_path / "runs").exists()


def test_baselines_are_listed(anytime):
    result = anytime("recipes", "baselines")
    assert result.status == 0
    assert all(name in result.out for name in BASELINES)
    assert [row["name"] for row in json.loads(anytime("recipes", "baselines", "--json").out)] == list(BASELINES)


def test_a_run_from_before_there_were_baselines_goes_on(anytime, quick):
    assert anytime("train", "--config", quick, "--stage", "autoencoder", "--run", "here").status == 0
    path = Path("here/run.json")
    record = json.loads(path.read_text())
    del record["baseline"], record["config"]["autoencoder"]["kind"], record["config"]["autoencoder"]["code_length"]
    path.write_text(json.dumps(record))
    assert read_record(Path("here")).baseline is None
    result = anytime("train", "--run", "here")
    assert result.status == 0, result.err
