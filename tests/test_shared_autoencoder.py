"""A prior on the autoencoder of another run: what the new run is, and that the two can never change each other."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import TINY

import anytime_core
from anytime_core.data.files import locked
from anytime_core.errors import AnytimeError, ConfigError, RunError, UsageError
from anytime_core.in_training import LOCK
from anytime_core.record import read_record
from anytime_core.run import Run, load
from anytime_core.spelling import as_options
from anytime_core.training import frozen
from anytime_core.training.prior import Likelihood
from anytime_core.training.start import outline
from anytime_core.weights import autoencoder_digest

SHORT = {"training.prior.steps": 2, "training.prior.validations": 1}
SHARED = ("autoencoder.safetensors", "codes/train.npy", "codes/validation-labels.npy")


def contents(run: Path) -> dict[Path, bytes]:
    """Everything of a run that a training of another one could change."""
    return {path: path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}


@pytest.fixture
def base(tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the tiny run, in a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(tiny_folder, "base"))


def on(base: Path, run: str | None = None, **arguments: Any) -> Run:
    overrides = {**SHORT, **arguments.pop("overrides", {})}
    return anytime_core.train(autoencoder=base, run=run, overrides=overrides, **arguments)


def test_a_prior_on_another_runs_autoencoder_is_a_whole_run(base):
    before = contents(base)
    planned = outline(autoencoder=base, overrides={**SHORT, "prior.kind": "ardm"})
    assert (planned.steps, planned.autoencoder, planned.run.exists()) == ({"prior": 2}, base, False)
    run = on(base, overrides={"prior.kind": "ardm"}, modality="image")
    own, theirs = run.record, read_record(base)
    assert run.folder == planned.run == Path("runs/image-tiny-ardm-1")
    assert (own.stages["autoencoder"], own.stages["codes"]) == (theirs.stages["autoencoder"], theirs.stages["codes"])
    assert (own.found, own.classes, own.stages["prior"].steps) == (theirs.found, theirs.classes, 2)
    assert own.autoencoder_of.run == str(base.resolve())
    assert all(os.path.samefile(run.folder / name, base / name) for name in SHARED)
    assert run.sample(2, calls=2).x.shape == (2, 1, 8, 8)
    moved = run.folder.rename("moved")
    more = anytime_core.train(run=moved, stage="prior", resume=True, overrides={"training.prior.steps": 3})
    assert more.record.stages["prior"].steps == 3
    another = on(moved, "another", overrides={"prior.kind": "transformer", "prior.width": 16}).record
    assert another.autoencoder_of == own.autoencoder_of
    assert contents(base) == before


def test_a_resumed_prior_is_told_with_its_kind_and_its_autoencoder(base, anytime):
    new = on(base, "new", overrides={"prior.kind": "nade"}).folder
    options = ("--run", new, "--stage", "prior", "--resume", "--set", "training.prior.steps=3")
    for dry_run in (("--dry-run",), ()):
        told = anytime("train", *options, *dry_run).err
        assert "image/tiny-nade into new: prior\n" in told
        assert "  on the autoencoder and the codes of base\n" in told
    assert outline(run=new, stage="prior", force=True).autoencoder == base.resolve()
    assert outline(run=new, stage="autoencoder", force=True).autoencoder is None
    assert outline(run=base, stage="prior", force=True).autoencoder is None


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({}, ""),
        ({"prior.attention": "local"}, "local attention, block 3, positions learned"),
        ({"prior.attention": "fixed", "prior.block": 4}, "fixed attention, block 4, summary 1, positions learned"),
        ({"prior.kind": "wavenet", "prior.layers": 3}, "dilations 1 to 4, by which a code sees all codes before it"),
        (
            {"prior.kind": "bytenet", "prior.layers": 1},
            "dilations 1 to 1, by which a code sees the 3 of at most 7 codes before it",
        ),
    ],
    ids=str,
)
def test_sizes_of_a_prior_that_follow_from_the_codes_are_told(base, anytime, settings, sizes):
    assert outline(autoencoder=base, overrides=settings).prior_sizes == sizes
    changes = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    told = anytime("train", "--autoencoder", base, "--dry-run", *changes).err
    assert (f"  prior: {sizes}\n" in told) == bool(sizes)


def test_a_run_stands_for_its_folder(base):
    run = load(base, device="cpu")
    new = anytime_core.train(autoencoder=run, run="new", overrides=SHORT)
    assert new.record.autoencoder_of.run == str(base.resolve())
    assert outline(run=new, stage="prior", force=True).run == new.folder
    assert load(new, device="cpu").folder == new.folder


def test_bits_are_shown_with_one_rounding(base, anytime, monkeypatch):
    measured = Likelihood(torch.tensor([2.61652], dtype=torch.float64), standard_error=0.01, samples=9)
    monkeypatch.setattr("anytime_core.training.stages.validate_prior", lambda *_, **__: measured)
    new = on(base, "new").folder
    assert "2.617 bits per code" in anytime("runs", "show", new).out
    assert " 2.617 " in anytime("runs", "compare", base, new).out


@pytest.mark.parametrize("stage", ["autoencoder", "codes", "prior"])
@pytest.mark.parametrize("linked", [True, False])
def test_training_a_stage_of_one_again_leaves_the_other_alone(base, stage, linked, monkeypatch):
    if not linked:

        def refuse(*_: object) -> None:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

        monkeypatch.setattr(os, "link", refuse)
    new = on(base, "new").folder
    assert all(os.path.samefile(new / name, base / name) == linked for name in SHARED)
    steps = {**SHORT, "training.autoencoder.steps": 2, "training.codes.samples": 40, "seed": 5}
    for changed, other in ((new, base), (base, new)):
        before = contents(other)
        anytime_core.train(run=changed, stage=stage, force=True, overrides=steps)
        assert contents(other) == before
    assert (read_record(new).autoencoder_of is None) == (stage == "autoencoder")


@pytest.mark.parametrize("killed_at", range(6))
def test_a_start_that_was_killed_is_started_again(base, killed_at, monkeypatch):
    done = []

    def dies_at_last(function):
        def call(*arguments, **options):
            if len(done) == killed_at:
                raise KeyboardInterrupt
            done.append(function)
            return function(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(frozen, "_link_or_copy", dies_at_last(frozen._link_or_copy))
        patch.setattr("anytime_core.training.opening.write_text", dies_at_last(None))
        with pytest.raises(KeyboardInterrupt):
            on(base, "new")
    assert not Path("new/run.json").exists()
    run = on(base, "new", resume="auto")
    assert run.record.stages.keys() == {"autoencoder", "codes", "prior"}
    assert not list(run.folder.glob(".partial*"))
    assert on(base, "new", resume="auto").record == run.record


def test_files_of_somebody_else_are_no_start_that_was_killed(base):
    Path("new/codes").mkdir(parents=True)
    with pytest.raises(UsageError, match="new is not empty and not a run"):
        on(base, "new")


def test_a_config_may_give_the_prior_and_the_run_gives_the_rest(base):
    values = {**TINY, "prior": {"kind": "ardm", "width": 16, "heads": 2, "layers": 1}}
    values["training"] = {**TINY["training"], "autoencoder": {"steps": 9000}}
    core = on(base, "new", config=values).record.config
    assert (core["prior"]["width"], core["training"]["autoencoder"]["steps"]) == (16, 40)
    with pytest.raises(ConfigError, match=r"takes autoencoder and data .* network.channels=4: leave that out"):
        on(base, "other", config={**values, "network": {"channels": 4, "widths": [16]}})


@pytest.mark.parametrize(
    "changes",
    [{"autoencoder.dropped": "learned"}, {"data.shift": 1}, {"training.codes.copies": 2}, {"loss": "l1"}],
    ids=str,
)
def test_what_would_change_autoencoder_or_data_is_refused(base, changes):
    with pytest.raises(ConfigError, match=f"{next(iter(changes))}="):
        on(base, "new", overrides=changes)
    assert not Path("new").exists()


def test_where_the_data_lies_and_what_the_training_runs_on_may_change(base):
    changes = {"data.root": "moved", "training.workers": 0, "seed": 3}
    config = on(base, "new", overrides=changes).record.config
    assert (Path(config["data"]["root"]).name, config["training"]["workers"], config["seed"]) == ("moved", 0, 3)


def test_a_run_of_another_autoencoder_is_not_gone_on_with(base):
    on(base, "new")
    anytime_core.train(
        run=base, stage="autoencoder", force=True, overrides={"training.autoencoder.steps": 2, "seed": 5}
    )
    with pytest.raises(
        RunError, match="has not finished stage codes: train it with anytime train --run base --stage codes"
    ):
        on(base, "other")
    anytime_core.train(run=base, stage="codes")
    with pytest.raises(UsageError, match="run new exists, and its autoencoder is not that of base"):
        on(base, "new", resume="auto")


def test_a_run_of_other_codes_is_not_gone_on_with(base):
    on(base, "new")
    anytime_core.train(run=base, stage="codes", force=True, overrides={"training.codes.samples": 40})
    with pytest.raises(UsageError, match="run new exists, and its codes are not those of base"):
        on(base, "new", resume="auto")


@pytest.mark.parametrize("name", ["autoencoder", "prior"])
def test_weights_that_the_record_does_not_tell_of_are_not_opened(base, name):
    recorded = json.loads((base / "run.json").read_text())
    recorded["stages"][name]["digest"] = "0" * 64
    (base / "run.json").write_text(json.dumps(recorded))
    refused = pytest.raises(RunError, match=f"base/{name}.safetensors is not the {name} that the run's record tells of")
    with refused:
        load(base)
    if name == "autoencoder":
        with refused:
            anytime_core.train(run=base, stage="prior", resume=True, overrides={"training.prior.steps": 50})
        with refused:
            autoencoder_digest(base, read_record(base))
    recorded["stages"][name]["digest"] = None
    (base / "run.json").write_text(json.dumps(recorded))
    assert load(base).prior is not None


def test_a_full_disk_is_that_of_the_new_run(base, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(shutil, "copyfileobj", refuse)
    with pytest.raises(AnytimeError, match="cannot write to new: No space left on device"):
        on(base, "new")


def test_codes_and_weights_that_do_not_belong_together_are_refused(base, tiny_folder):
    shutil.copy(base / "codes/train-labels.npy", base / "codes/validation.npy")
    with pytest.raises(RunError, match=r"validation.npy holds no codes; write them again"):
        on(base, "new")
    shutil.copy(tiny_folder / "prior.safetensors", base / "autoencoder.safetensors")
    with pytest.raises(RunError, match="not the autoencoder that the run's record tells of"):
        on(base, "new")
    assert not Path("new").exists()


def without_labels(codes: Path) -> None:
    for path in codes.glob("*-labels.npy"):
        path.unlink()


def cut(codes: Path) -> None:
    for path in codes.glob("train*.npy"):
        np.save(path, np.load(path)[:20])


def other_codes(codes: Path) -> None:
    np.save(codes / "train.npy", np.load(codes / "train.npy")[::-1])


CODES = {
    "no labels": (without_labels, "codes/train-labels.npy is missing: write them again with --stage codes and --force"),
    "cut": (cut, "codes/train.npy is not what the run's record tells of: write them again"),
    "other codes": (other_codes, "codes/train.npy is not what the run's record tells of: write them again"),
}


@pytest.mark.parametrize("change", CODES)
def test_codes_that_the_stage_did_not_write_are_not_learned(base, change):
    spoil, message = CODES[change]
    spoil(base / "codes")
    for arguments in ({"autoencoder": base}, {"run": base, "stage": "prior", "force": True}):
        with as_options(), pytest.raises(RunError, match=message):
            anytime_core.train(overrides=SHORT, **arguments)
    assert load(base).prior is not None
    anytime_core.train(run=base, stage="codes", force=True)
    on(base, "new")


def forget_files(run: Path) -> None:
    """Make the record of a run what an earlier version wrote."""
    recorded = json.loads((run / "run.json").read_text())
    recorded["stages"]["codes"].pop("files")
    (run / "run.json").write_text(json.dumps(recorded))


def test_codes_of_earlier_versions_are_learned_as_they_are(base):
    forget_files(base)
    other_codes(base / "codes")
    assert on(base, "new").prior.classes == 10
    (base / "codes/train-labels.npy").unlink()
    with pytest.raises(RunError, match=r"train-labels.npy is missing"):
        on(base, "half")
    without_labels(base / "codes")
    assert on(base, "unlabelled").prior.classes == 0
    with pytest.raises(ConfigError, match=r"class_conditional=true needs labels, but base/codes/train-labels.npy is"):
        on(base, "other", overrides={"prior.class_conditional": True})


def test_a_run_that_is_trained_again_meanwhile_is_not_taken(base, monkeypatch):
    link = frozen._link_or_copy

    def meanwhile(source: Path, target: Path) -> None:
        link(source, target)
        record = read_record(base)
        record.before("codes").save(base)

    monkeypatch.setattr(frozen, "_link_or_copy", meanwhile)
    with pytest.raises(RunError, match="run base is being trained again"):
        on(base, "new")
    assert load(base).prior is None
    assert not Path("new").exists()


def test_a_run_whose_codes_are_being_written_is_waited_for(base):
    read_record(base).before("codes").save(base)
    with locked(base, LOCK, "training"), pytest.raises(RunError, match=r"base is in training: .* until stage codes is"):
        on(base, "new")
