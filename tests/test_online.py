"""Training codes that are made while the prior learns: what is written, what is the same, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import tiny_config

import anytime_core
from anytime_core.config import Config
from anytime_core.errors import ConfigError, DataError, RunError, UsageError
from anytime_core.evaluation.floors import floors_of
from anytime_core.record import STAGES, read_record
from anytime_core.run import load
from anytime_core.training.codes import CodesDataset
from anytime_core.training.log import Progress
from anytime_core.training.online import OnlineCodes
from anytime_core.training.prior import validate_prior
from anytime_core.training.train import outline_stages, train_stages
from anytime_image.config import DataConfig, ImageConfig
from anytime_image.modality import ImageModality

STEPS = 6
QUICK = (
    "autoencoder.quantizer.size=2",
    "data.size=6",
    "prior.layers=1",
    "prior.width=8",
    "prior.dropout=0.2",
    "prior.label_dropout=0.2",
    f"training.prior.steps={STEPS}",
    "training.prior.batch_size=8",
    "training.codes.batch_size=500",
    "training.checkpoint_minutes=0",
)
ONLINE = "training.codes.online=true"
DYNAMIC = ("data.binarize=dynamic", "data.shift=1")
FILES = {"validation.npy", "validation-labels.npy"}


def config(*overrides: str) -> Config:
    return tiny_config(*QUICK, *overrides, baseline="identity")


def outcome(folder: Path) -> dict[str, object]:
    """The prior that a training made, and the numbers that it logged."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    metrics = [{key: value for key, value in line.items() if key != "time"} for line in lines]
    return {"prior": (folder / "prior.safetensors").read_bytes(), "metrics": metrics}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of drawn digits whose training codes are in a file."""
    folder = tmp_path_factory.mktemp("stored") / "run"
    train_stages(config("data.binarize=static"), folder)
    return folder


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of digits that are drawn anew for each step."""
    folder = tmp_path_factory.mktemp("dynamic") / "run"
    train_stages(config(ONLINE, *DYNAMIC), folder)
    return folder


def test_where_nothing_is_augmented_the_prior_is_that_of_a_file_of_codes(stored, tmp_path):
    train_stages(config("data.binarize=static", ONLINE), tmp_path / "run")
    assert {path.name for path in (tmp_path / "run" / "codes").iterdir()} == FILES
    assert set(read_record(tmp_path / "run").stages["codes"].files) == FILES
    online, file = (read_record(folder).stages["prior"] for folder in (tmp_path / "run", stored))
    assert online.digest == file.digest
    assert online.validation == file.validation


def test_each_step_sees_other_views_that_follow_from_the_seed(dynamic):
    modality = ImageModality(ImageConfig(data=DataConfig(size=6, binarize="dynamic")))
    source = OnlineCodes(load(dynamic, device="cpu").autoencoder, modality, modality.datasets().train, 40, 0, 0)
    (batch,) = {tuple(next(iter(source.batches(40, done)))["index"].tolist()) for done in (3, 3)}
    assert sorted(batch) == [position * len(source.dataset) // 40 for position in range(40)]
    items = source.dataset.batch(batch)
    first, second, again = (source.encoded(items, step)["codes"] for step in (0, 1, 0))
    assert torch.equal(first, again)
    assert 0.02 < (first != second).double().mean() < 0.3
    grey = items["x"].flatten(1)
    assert (first[grey == 1] == 1).all()
    assert (first[grey == -1] == 0).all()


def test_a_stopped_training_goes_on_as_if_it_had_not_been(dynamic, tmp_path):
    class Died(BaseException):
        pass

    def die(progress: Progress) -> None:
        if (progress.stage, progress.step, progress.activity) == ("prior", 3, ""):
            raise Died

    folder = tmp_path / "run"
    with pytest.raises(Died):
        train_stages(config(ONLINE, *DYNAMIC), folder, on_progress=die)
    torch.manual_seed(99)
    train_stages(config(ONLINE, *DYNAMIC), folder, stages=["prior"], resume=True)
    assert outcome(folder) == outcome(dynamic)


def test_a_run_without_training_codes_is_whole(dynamic, tmp_path):
    run = load(shutil.copytree(dynamic, tmp_path / "run"), device="cpu")
    assert run.sample(2).x.shape == (2, 1, 6, 6)
    codes = CodesDataset(run.folder / "codes", "validation")
    measured = validate_prior(run.require_prior(), codes, limit=None, batch_size=100)
    recorded = read_record(run.folder).stages["prior"].validation
    assert (recorded.samples, recorded.bits_per_code) == (300, pytest.approx(measured.bits_per_code, abs=1e-5))


def test_a_prior_on_another_runs_autoencoder_learns_online_or_from_its_file(stored, dynamic, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    short = {"training.prior.steps": 2, "training.prior.validations": 1}
    again = anytime_core.train(autoencoder=dynamic, run="again", overrides={**short, "prior.kind": "ardm"})
    assert {path.name for path in (again.folder / "codes").iterdir()} == FILES
    online = anytime_core.train(autoencoder=stored, run="online", overrides={**short, "training.codes.online": True})
    assert (online.folder / "codes/train.npy").samefile(stored / "codes/train.npy")
    plain = anytime_core.train(autoencoder=stored, run="plain", overrides=short)
    assert online.record.stages["prior"].digest == plain.record.stages["prior"].digest
    with pytest.raises(ConfigError, match="online=false needs codes of the training data in files"):
        anytime_core.train(autoencoder=dynamic, overrides={"training.codes.online": False})


def test_what_will_be_done_counts_no_batches_of_training_codes():
    steps = [
        outline_stages(config("data.binarize=static", *online), Path("nowhere")).steps["codes"]
        for online in ((), (ONLINE,))
    ]
    assert steps == [3 + 1, 1]


def test_codes_that_are_written_again_leave_no_old_file_of_training_codes(stored, tmp_path):
    folder = shutil.copytree(stored, tmp_path / "run")
    train_stages(config("data.binarize=static", ONLINE), folder, stages=["codes", "prior"], force=True)
    assert {path.name for path in (folder / "codes").iterdir()} == FILES
    with pytest.raises(RunError, match=r"train\.npy"):
        train_stages(config("data.binarize=static"), folder, stages=["prior"], force=True)
    with pytest.raises(UsageError, match=r"stage codes of run .* is finished"):
        train_stages(config("data.binarize=static", ONLINE), folder, stages=["codes"])


@pytest.mark.parametrize("stages", [STAGES, ["autoencoder", "codes"]])
def test_samples_that_are_drawn_anew_are_refused_for_files_of_codes(tmp_path, stages):
    with pytest.raises(ConfigError, match=r"^data.binarize=dynamic draws .* with training.codes.online=true$"):
        train_stages(config(*DYNAMIC), tmp_path / "run", stages=stages)
    assert not (tmp_path / "run").exists()


def test_what_independent_values_need_is_measured_on_views_where_samples_are_drawn_anew(stored, dynamic):
    drawn, anew = (floors_of(load(folder, device="cpu")) for folder in (stored, dynamic))
    assert anew.independent == pytest.approx(drawn.independent, rel=0.07)  # 13 % more by those of undrawn samples
    assert anew.zero_order == pytest.approx(drawn.zero_order, rel=0.01)


def test_copies_are_refused_where_there_is_no_file_of_them():
    with pytest.raises(ConfigError, match="copies=4 are written to a file, and online=true writes none"):
        config(ONLINE, "training.codes.copies=4")


def test_a_prior_does_not_go_on_with_data_of_other_settings(dynamic, tmp_path):
    folder = shutil.copytree(dynamic, tmp_path / "run")
    other = config(ONLINE, *DYNAMIC, "data.binarize=threshold", "training.prior.steps=8")
    with pytest.raises(DataError, match=r'data\.binarize="threshold" instead of "dynamic"'):
        train_stages(other, folder, stages=["prior"], resume=True)
    train_stages(other, folder, stages=["prior"], resume=True, force=True)
    assert read_record(folder).stages["prior"].steps == 8
