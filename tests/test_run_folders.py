"""Looking after runs: removing, renaming, pruning and comparing them, and those that are being trained."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from conftest import tiny_config

from anytime_core.data.files import holding, locked
from anytime_core.errors import RunError, UsageError
from anytime_core.in_training import LOCK, in_training, telling_status
from anytime_core.record import read_record
from anytime_core.run import load
from anytime_core.run_folders import compare_runs, prune_run, remove_run, rename_run
from anytime_core.training.train import train_stages


@pytest.fixture
def run(tiny_folder, tmp_path) -> Path:
    return shutil.copytree(tiny_folder, tmp_path / "runs" / "mine")


@pytest.fixture
def training(run):
    """A run as it is while its prior is trained."""
    record = read_record(run)
    stages = {name: done for name, done in record.stages.items() if name != "prior"}
    record.model_copy(update={"stages": stages}).save(run)
    with locked(run, LOCK, "training"), telling_status(run, os.getpid()) as status:
        status.tell("prior", 12, 20)
        yield run


def test_a_run_in_training_says_so_wherever_it_is_asked(anytime, training):
    said = f"stage prior, step 12 of 20, process {os.getpid()}"
    listed = json.loads(anytime("runs", "--json").out)
    assert (listed[0]["training"]["stage"], listed[0]["training"]["step"]) == ("prior", 12)
    assert said in anytime("runs").out
    assert said in anytime("runs", "show", training).out
    sampled = anytime("sample", "--run", training)
    assert (sampled.status, said in sampled.err) == (1, True)
    for command in (("rm", training, "--yes"), ("rename", training, "other"), ("prune", training)):
        refused = anytime("runs", *command)
        assert (refused.status, said in refused.err) == (1, True), command
    assert training.exists()


def test_before_its_autoencoder_a_run_in_training_says_so_too(training):
    read_record(training).model_copy(update={"stages": {}}).save(training)
    with pytest.raises(RunError, match="is in training: stage prior, step 12 of 20"):
        load(training)


def test_what_a_killed_training_left_says_nothing(run):
    script = f"""
import os, pathlib
from anytime_core.data.files import locked
from anytime_core.in_training import LOCK, telling_status
run = pathlib.Path({str(run)!r})
with locked(run, LOCK, "training"), telling_status(run, os.getpid()) as status:
    status.tell("prior", 12, 20)
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    assert (run / ".training.status").exists()
    assert in_training(run) is None
    remove_run(run)
    assert not run.exists()


def test_a_status_of_another_process_is_not_believed(run):
    (run / ".training.status").write_text(json.dumps({"process": 1, "stage": "prior", "step": 1, "steps": 2}))
    with locked(run, LOCK, "training"):
        found = in_training(run)
    assert found is not None
    assert (found.process, found.stage) == (os.getpid(), None)


def test_a_training_tells_its_status_and_takes_it_away(tmp_path):
    folder, seen = tmp_path / "run", []
    short = ("training.autoencoder.steps=2", "training.autoencoder.validations=1")
    train_stages(
        tiny_config(*short), folder, stages=["autoencoder"], on_progress=lambda _: seen.append(in_training(folder))
    )
    assert (seen[0].stage, seen[0].step, seen[0].steps, seen[0].process) == ("autoencoder", 1, 2, os.getpid())
    assert in_training(folder) is None
    assert list(folder.glob(".training*")) == []


def test_removing_a_run_follows_no_link(run, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "years of work").write_text("")
    (run / "samples").symlink_to(kept)
    (run / "previews" / "there").symlink_to(kept)
    remove_run(run)
    assert not run.exists()
    assert [path.name for path in kept.iterdir()] == ["years of work"]


def test_a_link_to_a_run_and_what_is_no_run_stay(run, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(run)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "run.json").write_text('{"mine": true}')
    for folder in (link, tmp_path / "photos", tmp_path, tmp_path / "missing"):
        with pytest.raises(RunError):
            remove_run(folder)
    assert read_record(run).stages


def test_what_no_training_wrote_is_not_removed(run):
    (run / "inner").mkdir()
    (run / "notes.txt").write_text("years of work")
    with pytest.raises(RunError, match=r"holds files that no training wrote, inner, notes\.txt: move them away"):
        remove_run(run)
    assert (run / "notes.txt").exists()


def test_a_run_that_is_being_written_into_stays(run):
    (run / "samples").mkdir(exist_ok=True)
    with holding(run / "samples" / ".partial-1.0-seed0-job", "drawing"):
        for touch in (remove_run, lambda folder: rename_run(folder, "other")):
            with pytest.raises(RunError, match="files are being written to"):
                touch(run)


def test_a_run_is_removed_and_renamed_from_within(run, monkeypatch):
    monkeypatch.chdir(run)
    renamed = rename_run(Path("."), "other")
    monkeypatch.chdir(renamed)
    remove_run(Path("."))
    assert not renamed.exists()


@pytest.mark.parametrize("name", ["", " ", "a\nb", "\udcff", "..", "a/b"])
def test_a_name_that_nobody_can_type_is_refused(run, name):
    with pytest.raises(UsageError):
        rename_run(run, name)


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 130)])
def test_on_a_terminal_it_is_asked_before_runs_are_removed(anytime, run, monkeypatch, answer, status):
    def confirm(text: str, *, abort: bool, err: bool) -> None:
        if answer != "y":
            raise typer.Abort

    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    monkeypatch.setattr("typer.confirm", confirm)
    result = anytime("runs", "rm", run)
    assert result.status == status
    assert "files, " in result.err
    assert run.exists() == (answer == "n")


def test_a_renamed_run_is_opened_as_before(anytime, run):
    target = rename_run(run, "best")
    assert (target, run.exists()) == (run.with_name("best"), False)
    assert load(target, device="cpu").prior is not None


def test_pruning_frees_checkpoints_and_all_previews_but_the_last(anytime, run):
    before = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    planned = prune_run(run, dry_run=True)
    assert {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()} == before
    printed = json.loads(anytime("runs", "prune", run, "--json").out)
    gone = before - {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    assert gone
    assert all(name.startswith("checkpoints/") or name == "previews/autoencoder-000020.png" for name in gone), gone
    assert len(gone) == planned.checkpoints.files + planned.previews.files
    assert printed["freed"]["previews"]["files"] == planned.previews.files == 1
    assert load(run, device="cpu").sample(2).x.shape[0] == 2
    assert prune_run(run).checkpoints.files == 0


def test_a_run_that_was_stopped_says_where(anytime, run):
    record = read_record(run)
    stages = {"autoencoder": record.stages["autoencoder"]}
    record.model_copy(update={"stages": stages}).save(run)
    (run / "checkpoints").mkdir(exist_ok=True)
    for step in (7, 1012):
        (run / "checkpoints" / f"codes-{step:08d}.safetensors").touch()
    assert "autoencoder; stage codes stopped at step 1,012" in anytime("runs", "--root", run.parent).out
    assert f"resume with anytime train --resume {run}" in anytime("runs", "show", run).out


def test_an_unfinished_stage_keeps_its_checkpoints(run):
    record = read_record(run)
    stages = {name: done for name, done in record.stages.items() if name != "prior"}
    record.model_copy(update={"stages": stages}).save(run)
    prune_run(run)
    assert [path.name.partition("-")[0] for path in (run / "checkpoints").iterdir()] != []


def test_runs_are_compared_by_what_differs_and_by_their_results(anytime, run, agnostic_folder):
    compared = compare_runs(run, agnostic_folder)
    assert compared.config["prior.kind"] == ("transformer", "ardm")
    assert compared.config["prior.prefix_share"][0] is None
    assert not any(key.startswith("network") for key in compared.config)
    assert compared.same_data is None  # of the embedded digits nothing is noted to compare
    both = compared.results["mse at 8 codes"]
    assert both[0] == both[1] is not None
    assert compared.results["bits per code"][0] != compared.results["bits per code"][1]
    assert compare_runs(run, run).config == {}
    printed = json.loads(anytime("runs", "compare", run, agnostic_folder, "--json").out)
    assert printed["config"]["prior.kind"] == ["transformer", "ardm"]
    assert "ardm" in anytime("runs", "compare", run, agnostic_folder).out


def test_values_that_are_changed_while_a_run_is_under_way_are_kept(run, tmp_path):
    assert read_record(run).changes == ()
    more = ("training.prior.steps=24", "training.prior.batch_size=16")
    record = train_stages(tiny_config(*more), run, stages=["prior"], resume=True)
    assert record.stages["prior"].steps == 24
    (change,) = record.changes
    assert (change.stages, change.values) == (
        ("prior",),
        {"training.prior.steps": 24, "training.prior.batch_size": 16},
    )
    train_stages(tiny_config(*more), run, stages=["prior"], force=True)
    train_stages(tiny_config(*more, "prior.layers=1"), run, stages=["prior"], force=True)
    assert [change.values for change in read_record(run).changes[1:]] == [{"prior.layers": 1}]
