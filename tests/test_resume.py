"""Trainings that end early: what they leave, and that going on gives what a training without a stop gives."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_config
from safetensors import safe_open
from safetensors.torch import save_file

from anytime_core.config import Config
from anytime_core.data.files import locked
from anytime_core.errors import AnytimeError, InterruptedTrainingError, RunError, UsageError, named_file
from anytime_core.record import STAGES, read_record
from anytime_core.training import fit as fit_module
from anytime_core.training import stages as stages_module
from anytime_core.training import validation
from anytime_core.training.log import Progress, ignore_progress
from anytime_core.training.preparation import Preparation
from anytime_core.training.train import train_stages

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
    train_stages(config_of(pictures), folder)
    return folder


def outcome(folder: Path) -> dict[str, object]:
    """What a training computed, and the numbers that it logged."""
    paths = [*folder.glob("*.safetensors"), *folder.glob("codes/*.npy")]
    computed: dict[str, object] = {str(path.relative_to(folder)): path.read_bytes() for path in paths}
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    computed["metrics"] = [{key: value for key, value in line.items() if key != "time"} for line in lines]
    finished = read_record(folder).finished
    computed["results"] = {stage: result.model_dump(exclude={"seconds"}) for stage, result in finished.items()}
    return computed


class Died(BaseException):
    """As sudden as a kill can be within a process."""


def dying_at(stage: str, step: int):
    def on_progress(progress: Progress) -> None:
        if (progress.stage, progress.step, progress.activity) == (stage, step, ""):
            raise Died

    return on_progress


def signalling_at(stage: str, step: int, number: int):
    def on_progress(progress: Progress) -> None:
        if (progress.stage, progress.step, progress.activity) == (stage, step, ""):
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
        train_stages(config_of(pictures), folder, on_progress=dying_at(stage, step))
    seen: list[Progress] = []
    torch.manual_seed(99)
    train_stages(config_of(pictures), folder, stages=unfinished(folder), resume=True, on_progress=seen.append)
    assert outcome(folder) == outcome(whole)
    assert (seen[0].stage, seen[0].step) == (stage, step), "only the step that died is done again"
    assert left_over(folder) == []


def test_many_stops_one_after_another_give_the_same(pictures, whole, tmp_path):
    folder = tmp_path / "run"
    for stage in STAGES:
        for step in (2, 4):
            todo = unfinished(folder) if folder.exists() else STAGES
            with pytest.raises(Died):
                train_stages(config_of(pictures), folder, stages=todo, resume=True, on_progress=dying_at(stage, step))
    train_stages(config_of(pictures), folder, stages=unfinished(folder), resume=True)
    assert outcome(folder) == outcome(whole)


def test_an_order_agnostic_prior_goes_on_too(pictures, whole, tmp_path):
    config = config_of(pictures, "prior.kind=ardm")
    for name in ("straight", "stopped"):
        shutil.copytree(whole, tmp_path / name)
    train_stages(config, tmp_path / "straight", stages=["prior"], force=True)
    with pytest.raises(Died):
        train_stages(config, tmp_path / "stopped", stages=["prior"], force=True, on_progress=dying_at("prior", 3))
    train_stages(config, tmp_path / "stopped", stages=["prior"], resume=True)
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "straight")


def test_a_stage_that_is_not_resumed_starts_anew(pictures, whole, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Died):
        train_stages(config_of(pictures), folder, on_progress=dying_at("autoencoder", 4))
    seen: list[Progress] = []
    train_stages(config_of(pictures), folder, on_progress=seen.append)
    assert seen[0].step == 1
    assert outcome(folder)["autoencoder.safetensors"] == outcome(whole)["autoencoder.safetensors"]


def test_without_a_checkpoint_going_on_starts_the_stage(pictures, whole, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Died):
        train_stages(config_of(pictures), folder, on_progress=dying_at("autoencoder", 1))
    train_stages(config_of(pictures), folder, resume=True)
    assert outcome(folder) == outcome(whole)


def test_missing_codes_are_written_again(pictures, whole, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Died):
        train_stages(config_of(pictures), folder, on_progress=dying_at("codes", 5))
    shutil.rmtree(folder / "codes")
    train_stages(config_of(pictures), folder, stages=unfinished(folder), resume=True)
    assert outcome(folder) == outcome(whole)


# Checkpoints


def test_the_last_two_checkpoints_are_kept(pictures, whole, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Died):
        train_stages(config_of(pictures), folder, on_progress=dying_at("autoencoder", 5))
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert names == ["autoencoder-00000003.safetensors", "autoencoder-00000004.safetensors"]
    assert len(list((whole / "checkpoints").iterdir())) == 2


def test_checkpoints_are_written_by_time(pictures, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Died):
        train_stages(
            config_of(pictures, "training.checkpoint_minutes=60"), folder, on_progress=dying_at("autoencoder", STEPS)
        )
    assert not (folder / "checkpoints").exists()


def rewritten(change: Callable[[dict[str, Any], dict[str, Any]], object]) -> Callable[[Path], object]:
    """A checkpoint whose metadata or tensors were changed by somebody who leaves the rest as it was."""

    def rewrite(path: Path) -> None:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads(file.metadata()["anytime"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        change(metadata, state)
        save_file(state, path, {"anytime": json.dumps(metadata)})

    return rewrite


def flip(path: Path) -> None:
    """One bit of the last tensor."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


DAMAGED: dict[str, Callable[[Path], object]] = {
    "cut off": lambda path: os.truncate(path, 1000),
    "empty": lambda path: os.truncate(path, 0),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a bit": flip,
    "a negative step": rewritten(lambda metadata, state: metadata.update(step=-5)),
    "no step": rewritten(lambda metadata, state: metadata.update(step=0)),
    "another step": rewritten(lambda metadata, state: metadata.update(step=2)),
    "a step beyond all": rewritten(lambda metadata, state: metadata.update(step=10**9)),
    "another stage": rewritten(lambda metadata, state: metadata.update(stage="prior")),
    "no time": rewritten(lambda metadata, state: metadata.update(seconds=math.nan)),
    "no random state": rewritten(lambda metadata, state: state.update(gone=state.pop("random.cpu"))),
    "no optimiser": rewritten(lambda metadata, state: [state.pop(name) for name in list(state) if "optimizer" in name]),
    "another shape": rewritten(
        lambda metadata, state: state.update({name: state[name][:1] for name in list(state)[:1]})
    ),
    "another type": rewritten(lambda metadata, state: state.update({"random.cpu": state["random.cpu"].float()})),
}


@pytest.fixture(scope="module")
def died(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that died in step 5 of stage autoencoder; tests must not change it."""
    folder = tmp_path_factory.mktemp("died") / "run"
    with pytest.raises(Died):
        train_stages(config_of(pictures), folder, on_progress=dying_at("autoencoder", 5))
    return folder


def latest(pictures: Path, folder: Path, *overrides: str) -> int:
    """The step that stage autoencoder of a run goes on from."""
    training = Preparation(config_of(pictures, *overrides), folder, STAGES, ignore_progress)
    checkpoint = training.checkpoints("autoencoder").latest()
    assert checkpoint is not None
    return checkpoint.position.step


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_checkpoint_leaves_the_one_before_it(pictures, died, damage, tmp_path, caplog):
    folder = shutil.copytree(died, tmp_path / "run")
    assert latest(pictures, folder) == 4
    last = folder / "checkpoints" / "autoencoder-00000004.safetensors"
    damage(last)
    assert latest(pictures, folder) == 3
    (line,) = (record.getMessage() for record in caplog.records)
    assert line.startswith(f"{last} ")
    assert line.endswith(f"; going on with {last.with_name('autoencoder-00000003.safetensors')}")


def test_going_on_from_the_one_before_gives_the_same(pictures, died, whole, tmp_path):
    folder = shutil.copytree(died, tmp_path / "run")
    flip(folder / "checkpoints" / "autoencoder-00000004.safetensors")
    seen: list[Progress] = []
    train_stages(config_of(pictures), folder, resume=True, on_progress=seen.append)
    assert seen[0].step == 4
    assert outcome(folder) == outcome(whole)


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_where_all_checkpoints_are_damaged_the_way_out_is_to_start_again(pictures, died, damage, tmp_path):
    folder = shutil.copytree(died, tmp_path / "run")
    for path in (folder / "checkpoints").iterdir():
        damage(path)
    with pytest.raises(RunError, match=rf"autoencoder-00000004.*; start .* anytime train --run {folder} --stage auto"):
        latest(pictures, folder)


def test_checkpoints_beyond_the_end_of_a_stage_name_the_steps_to_raise(pictures, died):
    assert latest(pictures, died, "training.autoencoder.steps=3") == 3
    with pytest.raises(
        RunError, match=r"00004\.safetensors is beyond the 2 steps .* raise training\.autoencoder\.steps"
    ):
        latest(pictures, died, "training.autoencoder.steps=2")


def test_checkpoints_of_earlier_versions_have_no_digest(pictures, died, whole, tmp_path):
    folder = shutil.copytree(died, tmp_path / "run")
    for path in (folder / "checkpoints").iterdir():
        rewritten(lambda metadata, state: metadata.pop("digest"))(path)
    train_stages(config_of(pictures), folder, resume=True)
    assert outcome(folder) == outcome(whole)


@pytest.mark.parametrize("gone", ["random.cpu", "model.", "optimizer."])
def test_a_checkpoint_that_was_made_up_is_one_line(pictures, died, gone, tmp_path):
    def change(metadata: dict[str, Any], state: dict[str, Any]) -> None:
        del metadata["digest"]
        name = next(name for name in state if name.startswith(gone))
        state[name] = state[name].reshape(-1)[:1].clone()
        if gone == "optimizer.":
            state["optimizer.x.y"] = state.pop(name)

    folder = shutil.copytree(died, tmp_path / "run")
    for path in (folder / "checkpoints").iterdir():
        rewritten(change)(path)
    with pytest.raises(UsageError, match=r"the checkpoint of step 4 is of another model .*autoencoder --force$"):
        train_stages(config_of(pictures), folder, resume=True)


def test_codes_are_not_gone_on_with_in_batches_of_another_size(pictures, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Died):
        train_stages(config_of(pictures), folder, on_progress=dying_at("codes", 5))
    changed = config_of(pictures, "training.codes.batch_size=7")
    with pytest.raises(UsageError, match=r"training\.codes has changed: leave it as it was, or start .* --stage codes"):
        train_stages(changed, folder, stages=["codes"], resume=True)


@pytest.mark.parametrize("override", ["network.channels=5", "seed=1", "autoencoder.truncation.ratio=0.5"])
def test_a_checkpoint_of_another_config_is_refused_and_kept(pictures, tmp_path, override):
    folder = tmp_path / "run"
    with pytest.raises(Died):
        train_stages(config_of(pictures), folder, on_progress=dying_at("autoencoder", 5))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    section = override.partition("=")[0].partition(".")[0]
    with pytest.raises(UsageError, match=rf"{section} has changed.*--stage autoencoder"):
        train_stages(config_of(pictures, override), folder, resume=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_how_fast_it_is_trained_may_change(pictures, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Died):
        train_stages(config_of(pictures), folder, on_progress=dying_at("autoencoder", 5))
    changed = config_of(pictures, "training.autoencoder.learning_rate=1e-5", "prior.width=16")
    train_stages(changed, folder, resume=True, stages=["autoencoder"])
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
        train_stages(config, folder, on_progress=signalling_at(stage, 3, number))
    assert caught.value.exit_status == status
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert [path for path in left_over(folder) if "codes" not in path] == []
    seen: list[Progress] = []
    train_stages(config, folder, stages=unfinished(folder), resume=True, on_progress=seen.append)
    assert (seen[0].stage, seen[0].step) == (stage, 4)
    assert outcome(folder) == outcome(whole)


def test_a_second_interrupt_does_not_wait_for_a_checkpoint(pictures, tmp_path):
    def on_progress(progress: Progress) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_stages(config_of(pictures), tmp_path / "run", on_progress=on_progress)


# Writers, and what goes wrong


def test_a_second_training_of_the_same_run_is_refused(pictures, tmp_path):
    folder = tmp_path / "run"
    with locked(folder, "training", "training it"), pytest.raises(UsageError, match=rf"process {os.getpid()} on"):
        train_stages(config_of(pictures), folder)
    assert not folder.exists()


def test_a_dead_training_leaves_the_run_free(pictures, whole, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".training.lock").touch()
    (folder / ".training.holder").write_text('{"pid": 1')
    (folder / ".partial-1-run.json").touch()
    train_stages(config_of(pictures), folder)
    assert outcome(folder) == outcome(whole)
    assert left_over(folder) == []


def test_a_diverging_training_names_the_last_good_checkpoint(pictures, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with pytest.raises(Died):
        train_stages(config_of(pictures), folder, on_progress=dying_at("autoencoder", 5))
    monkeypatch.setattr(fit_module, "one_cycle", lambda progress: float("nan"))
    with pytest.raises(AnytimeError, match=r"step 5; go on from step 4 .*--resume .*run --set training.autoenc"):
        train_stages(config_of(pictures), folder, resume=True)
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert names == ["autoencoder-00000003.safetensors", "autoencoder-00000004.safetensors"]


@pytest.mark.parametrize(("share", "warned"), [(1 / 64, True), (0.5, False)])
def test_a_collapsed_codebook_is_said(pictures, tmp_path, monkeypatch, caplog, share, warned):
    measure = validation.reconstruction_curve
    monkeypatch.setattr(
        validation,
        "reconstruction_curve",
        lambda *arguments: dataclasses.replace(measure(*arguments), codebook_use=share),
    )
    train_stages(config_of(pictures, "autoencoder.quantizer.size=4"), tmp_path / "run", stages=["autoencoder"])
    assert ("collapsed" in caplog.text and "dead_threshold" in caplog.text) == warned


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (
            "autoencoder.OrderedLoss.__call__",
            "stage autoencoder, step 1: out of memory; lower training.autoencoder.batch_size=8",
        ),
        (
            "validation.reconstruction_curve",
            "stage autoencoder, validation after step 3: out of memory; lower training.autoencoder.batch_size=8",
        ),
        (
            "stages.reconstruction_curve",
            "stage autoencoder: out of memory; lower training.codes.batch_size=4 and training.autoencoder.batch_size=8",
        ),
        ("encoding._Encoding._own", "stage codes: out of memory; lower training.codes.batch_size=4"),
        (
            "prior.validate_prior",
            "stage prior, validation after step 3: out of memory; lower training.prior.batch_size=8",
        ),
        ("stages.validate_prior", "stage prior: out of memory; lower training.prior.batch_size=8"),
    ],
)
def test_running_out_of_memory_says_what_to_lower(pictures, whole, tmp_path, monkeypatch, place, message):
    def exhaust(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(f"anytime_core.training.{place}", exhaust)
    stage = message.removeprefix("stage ").partition(":")[0].partition(",")[0]
    stages = STAGES[STAGES.index(stage) :]
    with pytest.raises(AnytimeError) as caught:
        train_stages(config_of(pictures), shutil.copytree(whole, tmp_path / "run"), stages=stages, force=True)
    assert str(caught.value) == message


def test_a_full_disk_leaves_the_last_checkpoint(pictures, whole, tmp_path, monkeypatch):
    folder, flush = tmp_path / "run", os.fsync

    def fail(progress: Progress) -> None:
        if (progress.stage, progress.step, progress.activity) == ("autoencoder", 5, ""):

            def full(descriptor: int) -> None:
                raise OSError(28, os.strerror(28))

            monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(OSError, match="No space left"):
        train_stages(config_of(pictures), folder, on_progress=fail)
    monkeypatch.setattr(os, "fsync", flush)
    assert left_over(folder) == []
    seen: list[Progress] = []
    train_stages(config_of(pictures), folder, resume=True, on_progress=seen.append)
    assert seen[0].step == 5
    assert outcome(folder) == outcome(whole)


def test_a_folder_that_vanishes_is_named(pictures, tmp_path):
    folder = tmp_path / "run"

    def vanish(progress: Progress) -> None:
        if progress.step == 3 and not progress.activity:
            shutil.rmtree(folder)

    with pytest.raises(FileNotFoundError) as caught:
        train_stages(config_of(pictures), folder, on_progress=vanish)
    # TensorBoard, which may be the first to notice, names it in bytes.
    assert (named_file(caught.value) or "").startswith(str(folder))
    assert not folder.exists()


def test_a_signal_after_the_last_step_of_all_stops_nothing(pictures, whole, tmp_path, monkeypatch):
    folder, validate = tmp_path / "run", stages_module.validate_prior

    def signalled(*arguments: object, **keywords: object):
        os.kill(os.getpid(), signal.SIGTERM)
        return validate(*arguments, **keywords)

    monkeypatch.setattr(stages_module, "validate_prior", signalled)
    assert list(train_stages(config_of(pictures), folder).stages) == list(STAGES)
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
    from anytime_cli.progress import TrainingBoard

    with monkeypatch.context() as patched:
        patched.setattr(TrainingBoard, "update", lambda bars, progress: signalling_at("autoencoder", 3, 15)(progress))
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


WRONG_WEIGHTS: dict[str, Callable[[Path], object]] = {
    "cut off": lambda path: os.truncate(path, path.stat().st_size - 1),
    "gone": lambda path: path.unlink(),
    "of another config": rewritten(
        lambda metadata, state: (
            metadata["prior"].update(dropout=0.75)
            if "prior" in metadata
            else metadata["autoencoder"]["truncation"].update(ratio=0.75)
        )
    ),
    "of another kind": lambda path: shutil.copy(
        path.with_name(({"autoencoder", "prior"} - {path.stem}).pop() + ".safetensors"), path
    ),
}


@pytest.mark.parametrize("stage", ["autoencoder", "prior"])
@pytest.mark.parametrize("damage", WRONG_WEIGHTS.values(), ids=WRONG_WEIGHTS)
def test_resume_auto_looks_at_the_weights_before_it_rests(anytime, whole, stage, damage):
    shutil.copytree(whole, "mine")
    assert anytime("train", "--resume", "auto", "--run", "mine").status == 0
    damage(Path("mine") / f"{stage}.safetensors")
    result = anytime("train", "--resume", "auto", "--run", "mine")
    assert result.status == 1
    (line,) = result.err.splitlines()
    assert f"--stage {stage}" in line


def test_a_finished_stage_is_trained_again_by_force_whichever_way_it_is_asked_for(pictures, whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "run")
    before = (folder / "prior.safetensors").read_bytes()
    changed = config_of(pictures, "training.prior.learning_rate=0.01")
    train_stages(changed, folder, stages=["prior"], resume=True, force=True)
    assert (folder / "prior.safetensors").read_bytes() != before
