"""Trainings that end early: what they leave, and that going on gives what a training without a stop gives."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from conftest import tiny_config

from anytime_core.config import Config
from anytime_core.errors import AnytimeError, InterruptedTrainingError, RunError, UsageError
from anytime_core.files import locked
from anytime_core.record import STAGES, read_record
from anytime_core.training import autoencoder as autoencoder_module
from anytime_core.training import fit as fit_module
from anytime_core.training import stages as stages_module
from anytime_core.training.log import Progress
from anytime_core.training.train import train

STEPS = 6
QUICK = (
    "data.name=folder",
    "data.size=8",
    "data.color=grey",
    "data.validation_share=0.3",
    "network.channels=6",
    "prior.layers=1",
    "prior.width=8",
    "training.checkpoint_minutes=0",
    *(
        f"training.{stage}.{key}"
        for stage in ("autoencoder", "prior")
        for key in (f"steps={STEPS}", "batch_size=8", "validations=2")
    ),
    # Everything that draws random numbers, or keeps a state.
    "data.flip=true",
    "data.shift=1",
    "training.codes.copies=2",
    "training.codes.batch_size=4",
    "prior.dropout=0.2",
    "prior.label_dropout=0.2",
    "autoencoder.truncation.balance=true",
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 pictures of 8x8 in two folders, one a class."""
    from PIL import Image

    root = tmp_path_factory.mktemp("data") / "pictures"
    pixels = torch.randint(0, 256, (24, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for index, image in enumerate(pixels):
        folder = root / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.numpy()).save(folder / f"{index}.png")
    return root


def config_of(pictures: Path, *overrides: str) -> Config:
    return tiny_config(*QUICK, f"data.root={pictures}", *overrides)


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped; tests must not change it."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(config_of(pictures), folder)
    return folder


def outcome(folder: Path) -> dict[str, object]:
    """What a training computed, and the numbers that it logged."""
    paths = [*folder.glob("*.safetensors"), *folder.glob("codes/*.npy")]
    computed: dict[str, object] = {str(path.relative_to(folder)): path.read_bytes() for path in paths}
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    computed["metrics"] = [{key: value for key, value in line.items() if key != "time"} for line in lines]
    computed["validation"] = {name: stage.validation for name, stage in read_record(folder).stages.items()}
    return computed


class Died(BaseException):
    """As sudden as a kill can be within a process."""


def dying_at(stage: str, step: int):
    def on_progress(progress: Progress) -> None:
        if (progress.stage, progress.step) == (stage, step):
            raise Died

    return on_progress


def signalling_at(stage: str, step: int, number: int):
    def on_progress(progress: Progress) -> None:
        if (progress.stage, progress.step) == (stage, step):
            os.kill(os.getpid(), number)

    return on_progress


def left_over(folder: Path) -> list[str]:
    names = [str(path.relative_to(folder)) for path in folder.rglob("*")]
    return [name for name in names if ".partial" in name or ".training" in name]


def unfinished(folder: Path) -> list[str]:
    done = read_record(folder).stages
    return [stage for stage in STAGES if stage not in done]


# Going on


@pytest.mark.parametrize(
    ("stage", "step"),
    [("autoencoder", step) for step in (1, 2, 4, 6)]
    + [("codes", step) for step in (1, 5, 10)]
    + [("prior", 1), ("prior", 5)],
)
def test_going_on_gives_what_a_training_without_a_stop_gives(pictures, whole, tmp_path, stage, step):
    folder = tmp_path / "run"
    with pytest.raises(Died):
        train(config_of(pictures), folder, on_progress=dying_at(stage, step))
    seen: list[Progress] = []
    torch.manual_seed(99)
    train(config_of(pictures), folder, stages=unfinished(folder), resume=True, on_progress=seen.append)
    assert outcome(folder) == outcome(whole)
    assert (seen[0].stage, seen[0].step) == (stage, step), "only the step that died is done again"
    assert left_over(folder) == []


def test_many_stops_one_after_another_give_the_same(pictures, whole, tmp_path):
    folder = tmp_path / "run"
    for stage in STAGES:
        for step in (2, 4):
            todo = unfinished(folder) if folder.exists() else STAGES
            with pytest.raises(Died):
                train(config_of(pictures), folder, stages=todo, resume=True, on_progress=dying_at(stage, step))
    train(config_of(pictures), folder, stages=unfinished(folder), resume=True)
    assert outcome(folder) == outcome(whole)


def test_an_order_agnostic_prior_goes_on_too(pictures, whole, tmp_path):
    config = config_of(pictures, "prior.kind=ardm")
    for name in ("straight", "stopped"):
        shutil.copytree(whole, tmp_path / name)
    train(config, tmp_path / "straight", stages=["prior"])
    with pytest.raises(Died):
        train(config, tmp_path / "stopped", stages=["prior"], on_progress=dying_at("prior", 3))
    train(config, tmp_path / "stopped", stages=["prior"], resume=True)
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "straight")


def test_a_stage_that_is_not_resumed_starts_anew(pictures, whole, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Died):
        train(config_of(pictures), folder, on_progress=dying_at("autoencoder", 4))
    seen: list[Progress] = []
    train(config_of(pictures), folder, on_progress=seen.append)
    assert seen[0].step == 1
    assert outcome(folder)["autoencoder.safetensors"] == outcome(whole)["autoencoder.safetensors"]


def test_without_a_checkpoint_going_on_starts_the_stage(pictures, whole, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Died):
        train(config_of(pictures), folder, on_progress=dying_at("autoencoder", 1))
    train(config_of(pictures), folder, resume=True)
    assert outcome(folder) == outcome(whole)


def test_missing_codes_are_written_again(pictures, whole, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Died):
        train(config_of(pictures), folder, on_progress=dying_at("codes", 5))
    shutil.rmtree(folder / "codes")
    train(config_of(pictures), folder, stages=unfinished(folder), resume=True)
    assert outcome(folder) == outcome(whole)


# Checkpoints


def test_the_last_two_checkpoints_are_kept(pictures, whole, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Died):
        train(config_of(pictures), folder, on_progress=dying_at("autoencoder", 5))
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert names == ["autoencoder-00000003.safetensors", "autoencoder-00000004.safetensors"]
    assert len(list((whole / "checkpoints").iterdir())) == 2


def test_checkpoints_are_written_by_time(pictures, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Died):
        train(config_of(pictures, "training.checkpoint_minutes=60"), folder, on_progress=dying_at("autoencoder", STEPS))
    assert not (folder / "checkpoints").exists()


def test_a_damaged_checkpoint_leaves_the_one_before_it(pictures, whole, tmp_path, caplog):
    folder = tmp_path / "run"
    with pytest.raises(Died):
        train(config_of(pictures), folder, on_progress=dying_at("autoencoder", 5))
    last = folder / "checkpoints" / "autoencoder-00000004.safetensors"
    last.write_bytes(last.read_bytes()[:1000])
    seen: list[Progress] = []
    train(config_of(pictures), folder, resume=True, on_progress=seen.append)
    assert seen[0].step == 4
    assert last.name in caplog.text
    assert outcome(folder) == outcome(whole)


def test_where_all_checkpoints_are_damaged_the_way_out_is_to_start_again(pictures, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Died):
        train(config_of(pictures), folder, on_progress=dying_at("autoencoder", 5))
    for path in (folder / "checkpoints").iterdir():
        path.write_bytes(b"")
    with pytest.raises(RunError, match=r"autoencoder-00000004.*--stage autoencoder"):
        train(config_of(pictures), folder, resume=True)


@pytest.mark.parametrize("override", ["network.channels=5", "seed=1", "autoencoder.truncation.ratio=0.5"])
def test_a_checkpoint_of_another_config_is_refused_and_kept(pictures, tmp_path, override):
    folder = tmp_path / "run"
    with pytest.raises(Died):
        train(config_of(pictures), folder, on_progress=dying_at("autoencoder", 5))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    section = override.partition("=")[0].partition(".")[0]
    with pytest.raises(UsageError, match=rf"{section} has changed.*--stage autoencoder"):
        train(config_of(pictures, override), folder, resume=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_how_fast_it_is_trained_may_change(pictures, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Died):
        train(config_of(pictures), folder, on_progress=dying_at("autoencoder", 5))
    changed = config_of(pictures, "training.autoencoder.learning_rate=1e-5", "prior.width=16")
    train(changed, folder, resume=True, stages=["autoencoder"])
    rates = [json.loads(line).get("rate") for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert rates[0] > 1e-4
    assert 0 < rates[-2] < 1e-5


# Signals


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_checkpoint_to_go_on_from(pictures, whole, tmp_path, stage, number, status):
    folder, config = tmp_path / "run", config_of(pictures, "training.checkpoint_minutes=60")
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(InterruptedTrainingError, match=rf"step 3 of stage {stage}.*--resume") as caught:
        train(config, folder, on_progress=signalling_at(stage, 3, number))
    assert caught.value.exit_status == status
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert [path for path in left_over(folder) if "codes" not in path] == []
    seen: list[Progress] = []
    train(config, folder, stages=unfinished(folder), resume=True, on_progress=seen.append)
    assert (seen[0].stage, seen[0].step) == (stage, 4)
    assert outcome(folder) == outcome(whole)


def test_a_second_interrupt_does_not_wait_for_a_checkpoint(pictures, tmp_path):
    def on_progress(progress: Progress) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(config_of(pictures), tmp_path / "run", on_progress=on_progress)


# Writers, and what goes wrong


def test_a_second_training_of_the_same_run_is_refused(pictures, tmp_path):
    folder = tmp_path / "run"
    with locked(folder, "training", "training it"), pytest.raises(UsageError, match=rf"process {os.getpid()} on"):
        train(config_of(pictures), folder)
    assert not folder.exists()


def test_a_dead_training_leaves_the_run_free(pictures, whole, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".training.lock").touch()
    (folder / ".training.holder").write_text('{"pid": 1')
    (folder / ".partial-1-run.json").touch()
    train(config_of(pictures), folder)
    assert outcome(folder) == outcome(whole)
    assert left_over(folder) == []


def test_a_diverging_training_names_the_last_good_checkpoint(pictures, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with pytest.raises(Died):
        train(config_of(pictures), folder, on_progress=dying_at("autoencoder", 5))
    monkeypatch.setattr(fit_module, "one_cycle", lambda progress: float("nan"))
    with pytest.raises(AnytimeError, match=r"step 5; go on from step 4 .*--resume .*run --set training.autoenc"):
        train(config_of(pictures), folder, resume=True)
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert names == ["autoencoder-00000003.safetensors", "autoencoder-00000004.safetensors"]


@pytest.mark.parametrize(("share", "warned"), [(1 / 64, True), (0.5, False)])
def test_a_collapsed_codebook_is_said(pictures, tmp_path, monkeypatch, caplog, share, warned):
    measure = autoencoder_module.reconstruction_curve
    monkeypatch.setattr(
        autoencoder_module,
        "reconstruction_curve",
        lambda *arguments: dataclasses.replace(measure(*arguments), codebook_use=share),
    )
    train(config_of(pictures, "autoencoder.quantizer.size=4"), tmp_path / "run", stages=["autoencoder"])
    assert ("collapsed" in caplog.text and "dead_threshold" in caplog.text) == warned


def test_running_out_of_memory_says_what_to_lower(pictures, tmp_path, monkeypatch):
    def exhaust(*arguments: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("anytime_core.training.autoencoder.OrderedLoss.__call__", exhaust)
    with pytest.raises(AnytimeError, match=r"out of memory at step 1; lower training\.autoencoder\.batch_size=8"):
        train(config_of(pictures), tmp_path / "run")


def test_a_full_disk_leaves_the_last_checkpoint(pictures, whole, tmp_path, monkeypatch):
    folder, flush = tmp_path / "run", os.fsync

    def fail(progress: Progress) -> None:
        if (progress.stage, progress.step) == ("autoencoder", 5):

            def full(descriptor: int) -> None:
                raise OSError(28, os.strerror(28))

            monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(OSError, match="No space left"):
        train(config_of(pictures), folder, on_progress=fail)
    monkeypatch.setattr(os, "fsync", flush)
    assert left_over(folder) == []
    seen: list[Progress] = []
    train(config_of(pictures), folder, resume=True, on_progress=seen.append)
    assert seen[0].step == 5
    assert outcome(folder) == outcome(whole)


def test_a_folder_that_vanishes_is_named(pictures, tmp_path):
    folder = tmp_path / "run"

    def vanish(progress: Progress) -> None:
        if progress.step == 3:
            shutil.rmtree(folder)

    with pytest.raises(FileNotFoundError) as caught:
        train(config_of(pictures), folder, on_progress=vanish)
    assert str(caught.value.filename).startswith(str(folder))
    assert not folder.exists()


def test_a_signal_after_the_last_step_of_all_stops_nothing(pictures, whole, tmp_path, monkeypatch):
    folder, validate = tmp_path / "run", stages_module.validate_prior

    def signalled(*arguments: object, **keywords: object):
        os.kill(os.getpid(), signal.SIGTERM)
        return validate(*arguments, **keywords)

    monkeypatch.setattr(stages_module, "validate_prior", signalled)
    assert list(train(config_of(pictures), folder).stages) == list(STAGES)
    assert outcome(folder) == outcome(whole)


# The command line


def arguments(pictures: Path, *more: str) -> list[str]:
    settings = [
        f"data.root={pictures}",
        *QUICK,
        "network.widths=[16]",
        "autoencoder.quantizer.size=16",
        "prior.heads=2",
    ]
    return ["train", *(part for setting in settings for part in ("--set", setting)), "--device", "cpu", *more]


@pytest.fixture
def stopped(anytime, pictures, monkeypatch) -> Path:
    """`runs/image-digits-1` of the working folder, stopped by SIGTERM in stage autoencoder."""
    from anytime_cli.train import _ProgressBars

    with monkeypatch.context() as patched:
        patched.setattr(_ProgressBars, "update", lambda bars, progress: signalling_at("autoencoder", 3, 15)(progress))
        result = anytime(*arguments(pictures))
    assert result.status == 143
    assert "anytime train --resume runs/image-digits-1" in result.err
    return Path("runs/image-digits-1").absolute()


@pytest.mark.parametrize(
    "options",
    [
        ("--resume",),
        ("--resume", "runs/image-digits-1"),
        ("--resume", "--run", "runs/image-digits-1"),
        ("--run", "runs/image-digits-1"),
        ("--resume", "auto", "--run", "runs/image-digits-1"),
    ],
)
def test_every_way_to_go_on(anytime, stopped, options):
    result = anytime("train", *options, "--json")
    assert result.status == 0, result.err
    steps = [line.split()[1] for line in result.err.splitlines() if line.startswith("autoencoder")]
    assert steps == ["4/6", "5/6", "6/6"]
    assert list(json.loads(result.out)["stages"]) == list(STAGES)


def test_resume_auto_starts_and_rests(anytime, pictures):
    first = anytime(*arguments(pictures, "--resume", "auto", "--run", "mine", "--json"))
    again = anytime("train", "--resume", "auto", "--run", "mine", "--json")
    assert (first.status, again.status) == (0, 0), first.err + again.err
    assert json.loads(again.out) == json.loads(first.out)


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        (("--resume",), 1, "no run in runs"),
        (("--resume", "nowhere"), 1, "no run at nowhere"),
        (("--resume", "auto"), 2, "--run DIR"),
        (("--resume", "a", "--run", "b"), 2, "two runs"),
    ],
)
def test_there_must_be_something_to_go_on_with(anytime, options, status, message):
    result = anytime("train", *options)
    assert result.status == status
    assert message in result.err
    assert not list(Path().iterdir())
