"""The three training stages: what they leave behind, in which order they go, and what stops them."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_config
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from anytime_core.config import Config
from anytime_core.discovery.plugins import load_modality
from anytime_core.errors import AnytimeError, ConfigError, DataError, RunError, UsageError
from anytime_core.record import STAGES, RunRecord, read_record
from anytime_core.run import load
from anytime_core.training.codes import CodesWriter
from anytime_core.training.log import Progress
from anytime_core.training.train import train_stages

QUICK = (
    "network.channels=6",
    "prior.layers=1",
    "prior.width=8",
    "training.autoencoder.steps=4",
    "training.autoencoder.batch_size=8",
    "training.autoencoder.validations=2",
    "training.prior.steps=4",
    "training.prior.batch_size=8",
    "training.prior.validations=2",
)
IMAGES = 24


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of 8x8 pictures, one a class."""
    root = tmp_path_factory.mktemp("data") / "pictures"
    pixels = np.random.default_rng(0).integers(0, 120, (IMAGES, 8, 8), dtype=np.uint8)
    for index, image in enumerate(pixels):
        label = ("dark", "light")[index % 2]
        (root / label).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image + 120 * (index % 2)).save(root / label / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def unlabelled(pictures: Path) -> Path:
    """The dark pictures alone, which makes no classes."""
    return pictures / "dark"


def quick_config(root: Path, *overrides: str) -> Config:
    """A config that trains in a fraction of a second."""
    data = ("data.name=folder", f"data.root={root}", "data.size=8", "data.color=grey", "data.validation_share=0.3")
    return tiny_config(*data, *QUICK, *overrides)


def outcome(folder: Path) -> dict[str, bytes]:
    """What a training computed: the weights and the codes."""
    paths = [*folder.glob("*.safetensors"), *folder.glob("codes/*.npy")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


RANDOM = ("data.flip=true", "training.codes.copies=2", "prior.dropout=0.2")
"""Everything that draws random numbers."""


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A quick run; tests must not change it."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    train_stages(quick_config(pictures, *RANDOM), folder)
    return folder


@pytest.fixture
def run_copy(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "copy")


@pytest.fixture(scope="module")
def encoded(pictures: Path, unlabelled: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Path]:
    """Runs by their data, finished up to stage codes; tests must not change them."""
    folders = {root: tmp_path_factory.mktemp("encoded") / "run" for root in (pictures, unlabelled)}
    for root, folder in folders.items():
        train_stages(quick_config(root, *RANDOM), folder, stages=("autoencoder", "codes"))
    return folders


@pytest.fixture
def encoded_copy(encoded: dict[Path, Path], pictures: Path, tmp_path: Path) -> Path:
    return shutil.copytree(encoded[pictures], tmp_path / "copy")


# What a training leaves behind


def test_the_same_seed_gives_the_same_files(pictures, trained, tmp_path):
    torch.manual_seed(99)
    train_stages(quick_config(pictures, *RANDOM), tmp_path / "again")
    assert len(outcome(trained)) == 6
    assert outcome(tmp_path / "again") == outcome(trained)


def test_deterministic_operations_are_asked_for_while_training_only(pictures, trained, tmp_path):
    asked: list[bool] = []
    config = quick_config(pictures, *RANDOM, "training.deterministic=true")
    train_stages(
        config, tmp_path / "run", on_progress=lambda _: asked.append(torch.are_deterministic_algorithms_enabled())
    )
    assert all(asked)
    assert not torch.are_deterministic_algorithms_enabled()
    assert outcome(tmp_path / "run") == outcome(trained)


def test_another_seed_gives_other_files(pictures, trained, tmp_path):
    train_stages(quick_config(pictures, *RANDOM, "seed=1"), tmp_path / "other")
    before, after = outcome(trained), outcome(tmp_path / "other")
    labels = {"codes/train-labels.npy", "codes/validation-labels.npy"}
    assert {name for name in before if before[name] == after[name]} == labels


def test_a_seed_of_any_size_trains(pictures, tmp_path):
    assert set(train_stages(quick_config(pictures, f"seed={2**63 - 1}"), tmp_path / "run").stages) == set(STAGES)


def test_stages_in_two_calls_give_the_files_of_one(pictures, trained, encoded_copy):
    assert list(read_record(encoded_copy).stages) == ["autoencoder", "codes"]
    train_stages(quick_config(pictures, *RANDOM), encoded_copy, stages=("prior",))
    assert list(read_record(encoded_copy).stages) == list(STAGES)
    assert outcome(encoded_copy) == outcome(trained)


def test_the_record_says_what_was_trained(tiny_folder):
    record = read_record(tiny_folder)
    assert (record.recipe, record.modality, record.seed) == ("image/tiny", "image", 0)
    assert (record.code_length, record.codebook_size, record.classes) == (8, 16, tuple("0123456789"))
    assert record.config == tiny_config().to_dict()
    assert list(record.stages) == list(STAGES)
    assert (record.stages["autoencoder"].steps, record.stages["prior"].steps) == (40, 20)
    assert all(stage.seconds >= 0 for stage in record.stages.values())
    assert {"python", "torch", "anytime-toolkit"} <= set(record.libraries)
    reconstruction = record.stages["autoencoder"].validation.reconstruction
    assert all(len(curve) == 8 and all(map(math.isfinite, curve)) for curve in reconstruction.values())
    assert 0 < record.stages["prior"].validation.bits_per_code < 8


def strict_json_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSON-lines file, which must not hold Python's NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def test_every_line_of_the_metrics_is_json_with_finite_numbers(tiny_folder):
    lines = strict_json_lines(tiny_folder / "metrics.jsonl")
    for line in lines:
        assert line["stage"] in ("autoencoder", "prior")
        assert all(math.isfinite(value) for name, value in line.items() if name != "stage")
    for stage, steps in (("autoencoder", 40), ("prior", 20)):
        own = [line for line in lines if line["stage"] == stage]
        assert own[-1]["step"] == steps
        assert sum("loss" in line for line in own) >= 1
        assert sum("validation/selection" in line for line in own) == 2


def test_each_validation_leaves_a_preview(tiny_folder):
    previews = sorted((tiny_folder / "previews").glob("autoencoder-*"))
    assert [path.name for path in previews] == ["autoencoder-000020.png", "autoencoder-000040.png"]
    for path in previews:
        with Image.open(path) as image:
            image.load()
            assert image.format == "PNG"
            assert min(image.size) > 64


def test_tensorboard_gets_the_numbers_too(tiny_folder):
    assert len(list((tiny_folder / "tensorboard").glob("events.out.tfevents*"))) == 1
    board = EventAccumulator(str(tiny_folder / "tensorboard")).Reload()
    assert {"autoencoder/loss", "autoencoder/validation/selection", "prior/loss"} <= set(board.Tags()["scalars"])
    assert [event.step for event in board.Scalars("prior/loss")] == [10, 20]


def test_every_step_of_every_stage_is_reported(pictures, tmp_path):
    reported: list[Progress] = []
    train_stages(quick_config(pictures), tmp_path / "run", on_progress=reported.append)
    for stage in STAGES:
        own = [progress for progress in reported if progress.stage == stage and not progress.activity]
        assert [progress.step for progress in own] == list(range(1, own[0].steps + 1))
    assert "loss" in own[-1].values


def test_a_forecast_of_all_stages_is_told_once_and_changes_nothing_that_is_learned(pictures, tmp_path):
    config = quick_config(pictures, "training.autoencoder.steps=14", "training.prior.steps=14")
    told: list[Progress] = []
    train_stages(config, tmp_path / "watched", on_progress=told.append)
    train_stages(config, tmp_path / "alone")
    (progress,) = [progress for progress in told if progress.forecast is not None]
    assert (progress.stage, progress.step) == ("autoencoder", 10)
    assert list(progress.forecast) == list(STAGES)
    assert all(seconds > 0 for seconds in progress.forecast.values())
    for name in ("autoencoder.safetensors", "prior.safetensors", "codes/train.npy"):
        assert (tmp_path / "watched" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def test_samples_that_are_encoded_and_measured_can_be_bounded(pictures, tmp_path):
    bounds = ("training.codes.samples=3", "training.codes.batch_size=2", "training.autoencoder.final_samples=2")
    record = train_stages(quick_config(pictures, *bounds), tmp_path / "run", stages=STAGES[:2])
    assert record.stages["autoencoder"].validation.samples == 2
    whole = np.load(tmp_path / "run" / "codes" / "train.npy")
    copies = quick_config(pictures).core.training.codes.copies
    assert len(whole) == 3 * copies
    everything = train_stages(quick_config(pictures, "training.codes.copies=1"), tmp_path / "all", stages=STAGES[:2])
    assert everything.stages["autoencoder"].validation.samples > 2
    rows = np.load(tmp_path / "all" / "codes" / "train.npy")
    assert np.array_equal(whole[:3], rows[[position * len(rows) // 3 for position in range(3)]])


def test_copies_give_that_many_rows_of_which_the_first_are_not_augmented(pictures, trained, tmp_path):
    train_stages(quick_config(pictures, *RANDOM, "training.codes.copies=1"), tmp_path / "one", stages=STAGES[:2])
    one, two = (np.load(folder / "codes" / "train.npy") for folder in (tmp_path / "one", trained))
    labels = np.load(trained / "codes" / "train-labels.npy")
    assert len(two) == len(labels) == 2 * len(one)
    assert np.array_equal(two[: len(one)], one)
    assert not np.array_equal(two[len(one) :], one)
    assert np.array_equal(labels[: len(one)], labels[len(one) :])
    validation = [np.load(folder / "codes" / "validation.npy") for folder in (tmp_path / "one", trained)]
    assert np.array_equal(*validation)


def test_codes_of_pictures_that_cannot_be_read_are_left_out_with_their_labels(
    pictures, tmp_path, encoded_copy, monkeypatch, caplog
):
    monkeypatch.setattr("anytime_image.datasets._IN_MEMORY_BYTES", 0)
    config = quick_config(pictures, "training.codes.batch_size=3")
    data = load_modality("image")(config.modality).datasets()
    whole, rows = train_codes(config, encoded_copy), {}
    damaged = shutil.copytree(pictures, tmp_path / "damaged")
    for name, dataset in (("train", data.train), ("validation", data.validation)):
        bad = {0, 1, 2, len(dataset) - 1} if name == "train" else {1}
        for index in bad:
            (damaged / dataset.files[index].relative_to(pictures)).write_bytes(b"damaged")
        rows[name] = [index for index in range(len(dataset)) if index not in bad]
    config = quick_config(damaged, "training.codes.batch_size=3")
    for name, (codes, labels) in train_codes(config, encoded_copy).items():
        assert np.array_equal(codes, whole[name][0][rows[name]])
        assert np.array_equal(labels, whole[name][1][rows[name]])
    assert f"4 of {len(data.train)} training samples cannot be read and are left out: {damaged}" in caplog.text
    found = read_record(encoded_copy).found
    assert found is not None
    assert [(kind.reason, kind.count) for kind in found.passed_over] == [
        ("training samples that cannot be read", 4),
        ("validation samples that cannot be read", 1),
    ]
    train_stages(config, encoded_copy, stages=("prior",))


def train_codes(config: Config, folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Stage codes once more: codes and labels of each part."""
    train_stages(config, folder, stages=("codes",), force=True)
    assert {path.name.removesuffix("-labels.npy").removesuffix(".npy") for path in (folder / "codes").iterdir()} == {
        "train",
        "validation",
    }
    return {
        name: (np.load(folder / "codes" / f"{name}.npy"), np.load(folder / "codes" / f"{name}-labels.npy"))
        for name in ("train", "validation")
    }


def test_rows_that_could_not_be_read_stay_out_of_codes_that_are_gone_on_with(tmp_path):
    expected = np.arange(12).reshape(6, 2)
    readable = np.array([True, False, True, True, False, True])
    for rows in (slice(0, 2), slice(2, 6)):
        writer = CodesWriter(tmp_path, "train", 6, 2, 16)
        writer.write(rows.start, expected[rows], expected[rows, 0], readable[rows])
        writer.flush()
        assert writer.holds(finished=False)
    writer.finish()
    assert np.array_equal(np.load(tmp_path / "train.npy"), expected[readable])
    assert np.array_equal(np.load(tmp_path / "train-labels.npy"), expected[readable, 0])
    assert len(list(tmp_path.iterdir())) == 2


def test_codes_of_which_no_sample_can_be_read_are_an_error(tmp_path):
    writer = CodesWriter(tmp_path, "train", 2, 2, 16)
    writer.write(0, np.zeros((2, 2), np.int64), None, np.zeros(2, bool))
    with pytest.raises(DataError, match=r"none of the 2 samples of train\.npy can be read"):
        writer.finish()


# Kinds of model


@pytest.mark.parametrize(
    ("overrides", "code_length", "codebook_size"),
    [
        (("autoencoder.quantizer.kind=fsq", "autoencoder.quantizer.levels=[3, 4]"), 6, 12),
        (("autoencoder.quantizer.kind=fsq", "autoencoder.quantizer.shared=false"), 6, 512),
        (("autoencoder.quantizer.shared=false",), 6, 16),
        (("autoencoder.quantizer.shared=false", "prior.code_length=3"), 6, 16),
        (("autoencoder.quantizer.update=gradient",), 6, 16),
        (("autoencoder.quantizer.kind=fsq", "autoencoder.quantizer.levels=[256, 257]"), 6, 256 * 257),
        (("autoencoder.axis=spatial",), 16, 16),
        (("autoencoder.axis=spatial", "autoencoder.tell_decoder=false", "autoencoder.dropped=learned"), 16, 16),
        (("training.precision=bfloat16",), 6, 16),
        (("autoencoder.truncation.decode=share",), 6, 16),
        (("autoencoder.truncation.distribution=none",), 6, 16),
        (("autoencoder.truncation.distribution=geometric", "network.kind=residual", "network.depth=1"), 6, 16),
        (("autoencoder.truncation.distribution=powers_of_two", "loss=l1"), 6, 16),
        (("prior.code_vectors=false", "prior.dropout=0"), 6, 16),
        (("data.size=12", "data.color=rgb"), 6, 16),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, tuple) else None,
)
def test_each_kind_of_model_trains_and_samples(pictures, tmp_path, overrides, code_length, codebook_size):
    config = quick_config(pictures, *overrides)
    record = train_stages(config, tmp_path / "run")
    assert (record.code_length, record.codebook_size) == (code_length, codebook_size)
    codes = np.load(tmp_path / "run" / "codes" / "train.npy")
    assert codes.shape[1] == code_length
    assert codes.dtype == (np.uint16 if codebook_size <= 2**16 else np.uint32)
    run = load(tmp_path / "run", device="cpu")
    samples = run.sample(3)
    assert samples.codes.shape == (3, config.core.prior.code_length or code_length)
    assert samples.codes.max() < codebook_size
    assert samples.x.shape == (3, *run.modality.sample_shape())
    assert samples.x.isfinite().all()


def test_continuous_codes_train_an_autoencoder_that_reconstructs(pictures, tmp_path):
    config = quick_config(pictures, "autoencoder.quantizer.kind=none")
    record = train_stages(config, tmp_path / "run", stages=("autoencoder",))
    assert record.codebook_size is None
    run = load(tmp_path / "run", device="cpu")
    x = run.modality.datasets().validation.batch([0, 1])["x"]
    assert run.reconstruct(x, 0.5).shape == x.shape
    assert not torch.equal(run.reconstruct(x, 0.5), run.reconstruct(x))


def test_a_prior_of_the_leading_codes_draws_that_many(pictures, encoded_copy):
    record = train_stages(quick_config(pictures, *RANDOM, "prior.code_length=2"), encoded_copy, stages=("prior",))
    assert len(record.stages["prior"].validation.bits_per_position) == 2
    run = load(encoded_copy, device="cpu")
    assert run.sample(3).codes.shape == (3, 2)
    assert run.sample(3, 0.5).codes.shape == (3, 1)
    with pytest.raises(UsageError, match="more than the 2 codes"):
        run.sample(3, "3codes")


@pytest.mark.parametrize(
    ("labels", "class_conditional", "conditional"),
    [
        (True, "false", False),
        (True, "auto", True),
        (True, "true", True),
        (False, "false", False),
        (False, "auto", False),
    ],
)
def test_the_prior_is_conditional_where_that_is_wanted_and_possible(
    pictures, unlabelled, encoded, tmp_path, labels, class_conditional, conditional
):
    root = pictures if labels else unlabelled
    folder = shutil.copytree(encoded[root], tmp_path / "copy")
    config = quick_config(root, *RANDOM, f"prior.class_conditional={class_conditional}")
    assert train_stages(config, folder, stages=("prior",)).classes == (("dark", "light") if labels else ())
    run = load(folder, device="cpu")
    if conditional:
        assert run.sample(4).labels.tolist() == [0, 1, 0, 1]
        assert run.sample(2, label="light").labels.tolist() == [1, 1]
    else:
        assert run.sample(2).labels is None
        with pytest.raises(UsageError, match="unconditional"):
            run.sample(2, label=0)


# The order of stages


@pytest.mark.parametrize(
    ("finished", "stage", "needed"),
    [((), "codes", "autoencoder"), ((), "prior", "autoencoder"), (("autoencoder",), "prior", "codes")],
)
def test_a_stage_without_the_one_before_it_names_the_command_to_run(pictures, tmp_path, finished, stage, needed):
    folder = tmp_path / "run"
    if finished:
        train_stages(quick_config(pictures), folder, stages=finished)
    with pytest.raises(RunError, match=f"stage {needed}") as refused:
        train_stages(quick_config(pictures), folder, stages=(stage,))
    assert f"anytime train --run {folder} --stage {needed}" in str(refused.value)
    assert folder.exists() == bool(finished)


def test_training_the_autoencoder_again_drops_what_came_after_it(pictures, run_copy):
    record = train_stages(quick_config(pictures, *RANDOM), run_copy, stages=("autoencoder",), force=True)
    assert list(record.stages) == ["autoencoder"]
    assert read_record(run_copy) == record
    assert load(run_copy, device="cpu").prior is None


@pytest.mark.parametrize("stage", ["autoencoder", "codes", "prior"])
def test_a_stage_that_dies_never_leaves_its_new_files_under_an_old_record(pictures, run_copy, stage):
    """A record that lists codes and prior says that they belong to the autoencoder beside them."""

    def die(progress: Progress) -> None:
        if progress.step == progress.steps:
            raise KeyboardInterrupt

    before, finished = outcome(run_copy), list(read_record(run_copy).stages)
    with pytest.raises(KeyboardInterrupt):
        train_stages(quick_config(pictures, *RANDOM, "seed=1"), run_copy, stages=(stage,), on_progress=die, force=True)
    if outcome(run_copy) == before:
        assert list(read_record(run_copy).stages) == finished
    else:
        assert list(read_record(run_copy).stages) == finished[: finished.index(stage)]


def test_stage_prior_needs_no_data(pictures, tmp_path):
    data, folder = shutil.copytree(pictures, tmp_path / "data"), tmp_path / "run"
    config = quick_config(data)
    train_stages(config, folder, stages=("autoencoder", "codes"))
    shutil.rmtree(data)
    assert list(train_stages(config, folder, stages=("prior",)).stages) == list(STAGES)
    assert load(folder, device="cpu").sample(2, label="light").labels.tolist() == [1, 1]


def test_stage_codes_without_its_data_changes_nothing(pictures, tmp_path):
    data, folder = shutil.copytree(pictures, tmp_path / "data"), tmp_path / "run"
    config = quick_config(data)
    train_stages(config, folder, stages=("autoencoder",))
    shutil.rmtree(data)
    record = (folder / "run.json").read_bytes()
    with pytest.raises(DataError, match=str(data)):
        train_stages(config, folder, stages=("codes",))
    assert (folder / "run.json").read_bytes() == record
    assert not (folder / "codes").exists()


@pytest.mark.parametrize(
    "override", ["autoencoder.quantizer.size=8", "network.channels=5", "network.widths=[8]", "data.size=16"]
)
@pytest.mark.parametrize("stage", ["codes", "prior"])
def test_a_later_stage_refuses_another_autoencoder_than_the_trained_one(pictures, run_copy, stage, override):
    with pytest.raises(ConfigError):
        train_stages(quick_config(pictures, *RANDOM, override), run_copy, stages=(stage,))
    assert list(read_record(run_copy).stages) == list(STAGES)


# What stops a training


def refused_untouched(config: Config, folder: Path, error: type[AnytimeError], message: str) -> None:
    before = sorted(folder.rglob("*")) if folder.exists() else None
    with pytest.raises(error, match=message):
        train_stages(config, folder)
    assert (sorted(folder.rglob("*")) if folder.exists() else None) == before


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("prior.width=9",), r"prior\.width=9 is not a multiple of prior\.heads=2"),
        (("prior.code_length=7",), r"prior\.code_length=7 is more than the 6 codes"),
        (("autoencoder.quantizer.kind=none",), "no prior learns: use vq or fsq, or stage='autoencoder'"),
    ],
    ids=str,
)
def test_a_config_that_cannot_be_trained_is_refused_before_anything_is_written(pictures, tmp_path, overrides, message):
    refused_untouched(quick_config(pictures, *overrides), tmp_path / "run", ConfigError, message)


def test_an_autoencoder_that_is_too_large_to_train_is_refused_before_it_takes_memory(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr("anytime_core.training.trainable.trainable_weights", lambda: 10_000)
    config = quick_config(pictures, "autoencoder.quantizer.size=4000", "autoencoder.quantizer.shared=false")
    refused_untouched(
        config, tmp_path / "run", ConfigError, "more than the 10,000 weights .*lower autoencoder.quantizer"
    )


def test_a_prior_that_is_too_large_to_train_is_refused_before_the_autoencoder_is_trained(
    pictures, tmp_path, monkeypatch
):
    monkeypatch.setattr("anytime_core.training.trainable.trainable_weights", lambda: 100_000)
    config = quick_config(pictures, "prior.width=256")
    refused_untouched(config, tmp_path / "run", ConfigError, r"kind=transformer has more than the 100,000 weights ")


def test_a_conditional_prior_without_labels_is_refused_before_anything_is_written(unlabelled, tmp_path):
    config = quick_config(unlabelled, "prior.class_conditional=true")
    refused_untouched(config, tmp_path / "run", ConfigError, "needs data with labels: use auto or false")


def test_missing_data_is_found_before_anything_is_written(tmp_path):
    refused_untouched(quick_config(tmp_path / "missing"), tmp_path / "run", DataError, "missing")


def test_a_folder_that_is_not_empty_and_no_run_is_left_alone(pictures, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    refused_untouched(quick_config(pictures), tmp_path, UsageError, "not a run: choose another run")


def test_an_empty_folder_becomes_a_run(pictures, tmp_path):
    assert set(train_stages(quick_config(pictures), tmp_path, stages=("autoencoder",)).stages) == {"autoencoder"}


def diverge(config: Config, folder: Path, stage: str, stages: Sequence[Any] = STAGES) -> RunRecord:
    """Train until the loss is no number; returns what is left of the run."""
    with pytest.raises(AnytimeError, match=rf"stage {stage}\b.* at step \d+.*training\.{stage}\.learning_rate"):
        train_stages(config, folder, stages=stages, force=True)
    return read_record(folder)


@pytest.mark.parametrize("steps", [1, 4, 30])
def test_an_autoencoder_that_diverges_ends_naming_the_step(pictures, tmp_path, steps):
    settings = (f"training.autoencoder.steps={steps}", "training.autoencoder.learning_rate=1e30")
    config = quick_config(pictures, *settings, "network.encoder_norm=group")
    assert diverge(config, tmp_path / "run", "autoencoder").stages == {}


def diverging_prior(root: Path, steps: int) -> Config:
    return quick_config(root, *RANDOM, f"training.prior.steps={steps}", "training.prior.learning_rate=1e30")


@pytest.mark.parametrize("steps", [1, 4, 30])
def test_a_prior_that_diverges_ends_naming_the_step_and_keeps_the_earlier_stages(pictures, encoded_copy, steps):
    record = diverge(diverging_prior(pictures, steps), encoded_copy, "prior", ("prior",))
    assert list(record.stages) == ["autoencoder", "codes"]


def test_a_prior_that_diverges_does_not_pass_for_the_older_one(pictures, run_copy):
    diverge(diverging_prior(pictures, 1), run_copy, "prior", ("prior",))


def test_numbers_of_a_diverging_training_are_still_json(pictures, encoded_copy):
    with pytest.raises(AnytimeError):
        train_stages(diverging_prior(pictures, 1), encoded_copy, stages=("prior",))
    assert strict_json_lines(encoded_copy / "metrics.jsonl")
