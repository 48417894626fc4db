"""What was found in data: said before a training, kept, and compared with when the run meets data again."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import tiny_config
from torch import Tensor, nn

from anytime_core.errors import ConfigError, DataError, UsageError
from anytime_core.evaluation.same_data import data_of, warn_of_changes
from anytime_core.found import ClassCount, Found, PassedOver, class_difference
from anytime_core.modality import Datasets
from anytime_core.record import STAGES, RunRecord, read_record
from anytime_core.relocation import location_keys, relocated
from anytime_core.run import load
from anytime_core.training.log import Progress
from anytime_core.training.train import outline_stages, train_stages
from anytime_image.config import ImageConfig
from anytime_image.datasets import ImageTensor
from anytime_image.modality import ImageModality

QUICK = (
    "network.widths=[4]",
    "prior.layers=1",
    "prior.width=8",
    *(
        f"training.{stage}.{key}"
        for stage in ("autoencoder", "prior")
        for key in ("steps=2", "batch_size=8", "validations=1")
    ),
)
CLASSES = {"cat": ClassCount(8, 2), "dog": ClassCount(4, 2)}
FOUND = Found(root=Path("/pictures"), train=12, validation=4, classes=CLASSES, digest="a")


# In words


def test_what_was_found_is_a_line_for_each_subject():
    found = Found(
        root=Path("/my\npictures"),
        train=1200,
        validation=4,
        classes={"cat": ClassCount(1000, 1), "\x1b[31mdog": ClassCount(200, 3)},
        forms={"32x32": 4, "640x480": 1200},
        notes=("Test is held out",),
        passed_over=(
            PassedOver(reason="files with suffix .heic", count=3, examples=("a.heic",), way_out="install pillow-heif"),
            PassedOver(reason="hidden folders", count=1000),
        ),
    )
    assert found.lines() == [
        r"1,200 items to train on and 4 held out in /my\npictures",
        r"2 classes (to train on + held out): cat (1,000 + 1), \x1b[31mdog (200 + 3)",
        "as they lie there: 640x480 (1,200), 32x32 (4)",
        "Test is held out",
        "not used: 3 files with suffix .heic, such as a.heic; install pillow-heif",
        "not used: 1,000 hidden folders",
    ]


def test_of_many_classes_the_first_are_named_and_the_others_counted():
    found = Found(train=100, validation=100, classes={str(number): ClassCount(1, 1) for number in range(100)})
    _, line = found.lines()
    assert line.startswith("100 classes (to train on + held out): 0 (1 + 1), 1 (1 + 1), ")
    assert line.endswith("11 (1 + 1) and 88 more")


class Items:
    """A data set of so many items, which holds its labels where they are given."""

    def __init__(self, number: int, labels: Any = None) -> None:
        self.number, self.labels = number, labels

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, index: int) -> dict[str, Any]:
        raise AssertionError("counting loads no items")


@pytest.mark.parametrize(
    ("train_labels", "validation_labels", "classes"),
    [
        ([0, 1, 1], torch.tensor([1, 1]), {"a": (1, 0), "b": (2, 2)}),
        (None, [0, 1], {"a": None, "b": None}),
        ([0, 1], [0, 1], {"a": None, "b": None}),  # not one for each item
        ("abc", [0, 1], {"a": None, "b": None}),
    ],
)
def test_where_a_modality_does_not_say_what_it_found_core_counts(train_labels, validation_labels, classes):
    datasets = Datasets(Items(3, train_labels), Items(2, validation_labels), ("a", "b"))
    assert datasets.counted() == Found(train=3, validation=2, classes=classes)
    assert dataclasses.replace(datasets, found=FOUND).counted() is FOUND


def test_classes_without_counts_are_named():
    assert Found(train=3, validation=2, classes={"a": None}).lines()[1] == "1 class: a"


@pytest.mark.parametrize(
    ("before", "now", "difference"),
    [
        ("ab", "ab", ""),
        ("", "", ""),
        ("ab", "cd", "other classes (c, d new; a, b gone)"),
        ("ab", "abc", "other classes (c new)"),
        ("ab", "b", "other classes (a gone)"),
        ("ab", "ba", "the same classes in another order (b, a, not a, b)"),
    ],
)
def test_classes_differ_by_their_names_and_order(before, now, difference):
    assert class_difference(before, now) == difference


MORE = "13 items to train on and 4 held out, instead of 12 and 4"
OTHERS = "as many items, but with other names or sizes"
LISTINGS: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"root": Path("/moved"), "notes": ("held out",), "forms": {"8x8": 16}}, ""),
    ({"digest": "b"}, OTHERS),
    ({"train": 13}, MORE),
    ({"train": 13, "digest": "b"}, MORE),
    ({"digest": ""}, ""),
    (
        {"digest": "", "classes": {"cat": ClassCount(7, 2), "dog": ClassCount(5, 2)}},
        "as many items, but others of class cat, dog",
    ),
    ({"digest": "", "classes": {"cat": None, "dog": None}}, ""),
]


@pytest.mark.parametrize(("changes", "difference"), LISTINGS)
def test_listings_differ_by_numbers_and_names_wherever_they_lie(changes, difference):
    assert FOUND.listing_difference(FOUND.model_copy(update=changes)) == difference


def test_what_was_found_comes_back_from_the_record(started):
    assert read_record(started).found == FOUND


# Data that a run meets again


def data(names: tuple[str, ...] = ("cat", "dog"), **changes: Any) -> Datasets:
    """Random images, all of the second class but the first of each part, with what was found changed."""
    found = FOUND.model_copy(update=changes)

    def images(number: int) -> ImageTensor:
        pixels = torch.randint(0, 256, (number, 1, 8, 8), generator=torch.Generator().manual_seed(number))
        return ImageTensor(pixels.to(torch.uint8), torch.arange(number).clamp(max=1))

    return Datasets(images(found.train), images(found.validation), names, found)


@pytest.fixture(autouse=True, scope="module")
def _no_plots():
    """They take longer than these trainings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anytime_core.training.stages.plot_curve", lambda curve, path: None)
        yield


@pytest.fixture
def lies_there(monkeypatch: pytest.MonkeyPatch):
    """Have every image data set be the one that is given."""

    def put(datasets: Datasets) -> None:
        monkeypatch.setattr(ImageModality, "datasets", lambda self: datasets)

    return put


@pytest.fixture(scope="module")
def run_after(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stage -> a run on `data()` with that stage and those before it; tests must not change them."""
    root = tmp_path_factory.mktemp("found")
    folder, folders = root / "run", {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImageModality, "datasets", lambda self: data())
        for stage in STAGES:
            train_stages(tiny_config(*QUICK), folder, stages=[stage])
            folders[stage] = shutil.copytree(folder, root / stage)
    return folders


@pytest.fixture
def finished(run_after: dict[str, Path]) -> Path:
    """A run of all stages on `data()`; tests must not change it."""
    return run_after["prior"]


@pytest.fixture
def started(finished: Path, tmp_path: Path) -> Path:
    """A copy, with its checkpoints."""
    return shutil.copytree(finished, tmp_path / "run")


CHANGES: list[tuple[Datasets, str]] = [
    (data(digest="b"), OTHERS),
    (data(train=13), MORE),
    (data(("cat", "pig")), r"other classes \(pig new; dog gone\)"),
    (data(("dog", "cat")), "the same classes in another order"),
]


@pytest.mark.parametrize(("now", "message"), CHANGES)
@pytest.mark.parametrize(("stage", "resume"), [("autoencoder", True), ("codes", True), ("codes", False)])
def test_a_training_that_goes_on_refuses_other_data(run_after, lies_there, now, message, stage, resume):
    started = run_after[stage]
    before = (started / "run.json").read_bytes()
    lies_there(now)
    with pytest.raises(DataError, match=rf"{message}.* in /pictures.*data\.root.: DIR.*force=True"):
        train_stages(tiny_config(*QUICK), started, stages=[stage], resume=resume)
    assert (started / "run.json").read_bytes() == before


@pytest.mark.parametrize("stage", ["autoencoder", "codes"])
def test_a_training_that_is_forced_goes_on_with_what_there_is(run_after, tmp_path, lies_there, stage):
    folder = shutil.copytree(run_after[stage], tmp_path / "run")
    now = data(("cow", "cat", "dog"), digest="b")
    lies_there(now)
    record = train_stages(tiny_config(*QUICK), folder, stages=[stage], resume=True, force=True)
    assert (record.found, record.classes) == (now.found, now.classes)
    assert read_record(folder) == record


def test_codes_that_were_half_written_of_other_data_begin_anew_where_they_are_forced(started, lies_there):
    def stop(progress: Progress) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt

    config = tiny_config(*QUICK, "training.codes.batch_size=4", "training.checkpoint_minutes=0")
    lies_there(data())
    with pytest.raises(KeyboardInterrupt):
        train_stages(config, started, stages=["codes"], force=True, on_progress=stop)
    steps: list[int] = []
    lies_there(data(("dog", "cat")))
    train_stages(
        config, started, stages=["codes"], resume=True, force=True, on_progress=lambda one: steps.append(one.step)
    )
    assert steps == [1, 2, 3, 4]


@pytest.mark.parametrize("now", [data(), data(root=Path("/moved"))])
@pytest.mark.parametrize(("stage", "resume"), [("codes", False), ("codes", True)])
def test_data_that_was_only_moved_is_gone_on_with(started, lies_there, now, stage, resume):
    lies_there(now)
    record = train_stages(tiny_config(*QUICK), started, stages=[stage], resume=resume, force=True)
    assert record.found == now.found


@pytest.mark.parametrize(("now", "message"), CHANGES)
def test_a_stage_autoencoder_that_begins_anew_takes_what_there_is(started, lies_there, now, message):
    lies_there(now)
    record = train_stages(tiny_config(*QUICK), started, stages=["autoencoder"], force=True)
    assert (record.found, record.classes, list(record.stages)) == (now.found, now.classes, ["autoencoder"])


def test_stage_prior_keeps_what_its_codes_were_made_of(started, lies_there):
    lies_there(data(("cow", "pig"), digest="b"))
    record = train_stages(tiny_config(*QUICK), started, stages=["prior"], force=True)
    assert (record.found, record.classes) == (FOUND, ("cat", "dog"))


def without_found(folder: Path) -> None:
    """As earlier versions wrote it."""
    record = json.loads((folder / "run.json").read_text())
    del record["found"], record["last_stage"]
    (folder / "run.json").write_text(json.dumps(record))


def test_a_run_that_did_not_record_what_it_found_is_compared_by_its_classes(started, lies_there):
    without_found(started)
    run = load(started, device="cpu")
    lies_there(data(digest="b"))
    assert data_of(run)[1] == ()
    assert train_stages(tiny_config(*QUICK), started, stages=["codes"], force=True).found == FOUND.model_copy(
        update={"digest": "b"}
    )
    lies_there(data(("cow", "dog")))
    with pytest.raises(DataError, match=r"cow new; cat gone"):
        data_of(run)
    without_found(started)
    with pytest.raises(DataError, match=r"cow new; cat gone"):
        train_stages(tiny_config(*QUICK), started, stages=["codes"])


# Evaluation


@pytest.mark.parametrize(("now", "message"), CHANGES[:2])
def test_an_evaluation_says_that_its_data_are_others(finished, lies_there, caplog, now, message):
    lies_there(now)
    datasets, changes = data_of(load(finished, device="cpu"))
    assert datasets is now
    assert changes == (f"there are {message} in /pictures",)
    warn_of_changes(load(finished, device="cpu"), changes)
    assert [record.getMessage() for record in caplog.records] == [
        f"the data of run {finished} has changed since it was trained, and is what it is judged by now: {changes[0]}"
    ]


def test_an_evaluation_of_the_same_data_says_nothing(finished, lies_there, caplog):
    lies_there(data(root=Path("/moved")))
    assert data_of(load(finished, device="cpu"))[1] == ()
    assert not caplog.records


@pytest.mark.parametrize("batched", [True, False])
def test_an_evaluation_numbers_classes_by_name(finished, lies_there, monkeypatch, batched):
    if not batched:
        monkeypatch.delattr(ImageTensor, "batch")
    given = data(("dog", "cat"))
    lies_there(given)
    datasets, changes = data_of(load(finished, device="cpu"))
    assert datasets.classes == ("cat", "dog")
    assert changes == ("there are the same classes in another order (dog, cat, not cat, dog) in /pictures",)
    for part, before in ((datasets.train, given.train), (datasets.validation, given.validation)):
        assert len(part) == len(before)
        assert [part[index]["label"] for index in range(4)] == [1, 0, 0, 0]
        assert torch.equal(part[1]["x"], before[1]["x"])
        assert hasattr(part, "batch") == batched
        if batched:
            batch = part.batch([0, 2])
            assert batch["label"].tolist() == [1, 0]
            assert torch.equal(batch["x"][1], before[2]["x"])


@pytest.mark.parametrize("names", [("cow", "pig"), ("cat", "dog", "pig"), ("cat",), ()])
def test_an_evaluation_refuses_other_classes(finished, lies_there, names):
    lies_there(data(names))
    with pytest.raises(DataError, match=r"not the data of run .*(new|gone).* in /pictures; .*--set data\.root=DIR"):
        data_of(load(finished, device="cpu"))


# Where the data of a run lies


def test_only_where_data_lies_can_be_said_of_a_trained_run(tiny_folder):
    assert location_keys(ImageConfig) == ["data.root", "data.download"]
    run = load(tiny_folder, device="cpu", settings=["data.root=/moved", "data.download=true"])
    assert (run.modality.config.data.root, run.modality.config.data.download) == (Path("/moved"), True)
    assert run.modality.config.data.name == "digits"
    for setting in ("data.size=32", "data=1", "seed=1", "training.workers=0", "data.rot=x", "x"):
        with pytest.raises(UsageError, match=f"'{setting}' does not say .*: use data.root, data.download"):
            relocated(run.record, [setting])


# A batch of one


class Averaging(nn.Module):
    """A third party's normalisation, which torch itself refuses one sample for."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.flatten(1)[:, :4])[..., None, None]


ONE = "each step sees one sample"
GROUPS = ("network.encoder_norm=group", "network.decoder_norm=group")


@pytest.mark.parametrize(
    ("samples", "overrides", "message"),
    [
        (1, (), f"{ONE}.*give more than one training sample$"),
        (1, ("network.widths=[4,4,16]",), f"{ONE}.*sample, or set {' and '.join(GROUPS)}$"),
        (1, ("network.widths=[4,4,16]", GROUPS[0]), f"{ONE}.*sample, or set {GROUPS[1]}$"),
        (1, ("network.widths=[4,4,16]", *GROUPS), None),
        (9, GROUPS[:1], "normalise single values.*more channels"),
        (9, ("training.autoencoder.batch_size=1",), f"{ONE}.*raise training.autoencoder.batch_size=1 to 2 or more"),
        (1, ("network.widths=[4]",), None),
        (2, (), None),
        (1, ("autoencoder.kind=identity",), None),
    ],
)
def test_a_batch_of_one_is_refused_before_anything_is_written(tmp_path, lies_there, samples, overrides, message):
    lies_there(data(train=samples))
    identity = "autoencoder.kind=identity" in overrides
    levels = ("autoencoder.tell_decoder=false", "autoencoder.quantizer.kind=levels")
    further = levels if identity else ("network.widths=[4,4,4]",)
    config = tiny_config(*QUICK, *further, *overrides)
    if message is None:
        assert outline_stages(config, tmp_path / "run", stages=["autoencoder"]).steps == {
            "autoencoder": 1 if identity else 2
        }
    else:
        with pytest.raises(ConfigError, match=message):
            train_stages(config, tmp_path / "run", stages=["autoencoder"])
    assert not (tmp_path / "run").exists()


def test_networks_of_others_are_tried_too(tmp_path, lies_there, monkeypatch):
    lies_there(data(train=1))
    monkeypatch.setattr(ImageModality, "encoder", lambda self: Averaging())
    config = tiny_config(*QUICK, "network.widths=[16,16,16]", "network.decoder_norm=group")
    with pytest.raises(ConfigError, match=f"{ONE}.*give more than one training sample$"):
        outline_stages(config, tmp_path / "run", stages=["autoencoder"])


# The command


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_config(*QUICK).to_dict()))
    return path


SAID = [
    "  12 items to train on and 4 held out in /pictures",
    "  2 classes (to train on + held out): cat (8 + 2), dog (4 + 2)",
]


def test_train_says_what_it_found_before_its_first_step_and_names_no_run_without_data(
    anytime, config_file, lies_there, tmp_path
):
    missing = anytime(
        "train", "--config", config_file, "--set", "data.name=folder", "--set", f"data.root={tmp_path}/no"
    )
    assert missing.status == 1
    assert "training" not in missing.err
    lies_there(data())
    result = anytime("train", "--config", config_file, "--run", "here", "--json")
    assert result.err.splitlines()[:4] == ["training tiny into here", *SAID, "autoencoder  1/2"]
    assert Found.model_validate(json.loads(result.out)["found"]) == FOUND


def test_a_dry_run_says_what_would_be_trained_and_writes_nothing(anytime, config_file, lies_there, tmp_path):
    lies_there(data())
    before = sorted(tmp_path.rglob("*"))
    result = anytime("train", "--config", config_file, "--dry-run")
    assert result.status == 0
    lines = result.err.splitlines()
    assert lines[:4] == ["would train tiny into runs/tiny-1", *SAID, "  code length 8, codebook size 16, on cpu"]
    assert [line.partition(",")[0] for line in lines[4:]] == [
        "  stage autoencoder: 2 steps",
        "  stage codes: 2 steps",
        "  stage prior: 2 steps",
        "nothing was trained",
    ]
    printed = json.loads(anytime("train", "--config", config_file, "--dry-run", "--json").out)
    assert printed | {"weights": 0, "found": 0} == {
        "run": "runs/tiny-1",
        "modality": "image",
        "steps": {"autoencoder": 2, "codes": 2, "prior": 2},
        "done": 0,
        "found": 0,
        "code_length": 8,
        "codebook_size": 16,
        "weights": 0,
        "device": "cpu",
        "name": "tiny",
        "has_quick": False,
        "autoencoder": None,
        "prior_sizes": "",
    }
    assert Found.model_validate(printed["found"]) == FOUND
    assert sorted(tmp_path.rglob("*")) == before


def test_the_weights_that_a_dry_run_tells_are_those_of_the_run(started, lies_there, tmp_path):
    lies_there(data())
    run = load(started, device="cpu")
    assert run.prior is not None
    assert outline_stages(tiny_config(*QUICK), tmp_path / "new").weights == {
        "autoencoder": sum(weight.numel() for weight in run.autoencoder.parameters()),
        "prior": sum(weight.numel() for weight in run.prior.parameters()),
    }


def test_a_finished_stage_has_nothing_to_go_on_with(anytime, started, lies_there):
    lies_there(data())
    before = {path: path.stat().st_mtime_ns for path in started.rglob("*")}
    for stage in ("codes", "prior"):
        result = anytime("train", "--resume", started, "--stage", stage)
        assert result.status == 2
        assert f"stage {stage} of run {started} is finished: " in result.err
        assert result.err.rstrip().endswith("with --force")
        assert (f"--resume {started} --stage prior --set training.prior.steps=MORE" in result.err) == (stage == "prior")
    assert {path: path.stat().st_mtime_ns for path in started.rglob("*")} == before


def test_a_dry_run_of_a_run_says_where_it_would_go_on(started, lies_there):
    lies_there(data())
    planned = outline_stages(tiny_config(*QUICK, "training.prior.steps=5"), started, stages=["prior"], resume=True)
    assert (planned.steps, planned.done, planned.found) == ({"prior": 5}, 2, FOUND)
    lies_there(data(train=13))
    with pytest.raises(DataError, match=MORE):
        outline_stages(tiny_config(*QUICK), started, stages=["codes"])


# The stages that were asked for


def stages_of(folder: Path) -> list[str]:
    return list(read_record(folder).stages)


def test_a_run_that_is_gone_on_with_stays_with_the_stages_that_were_asked_for(anytime, config_file, lies_there):
    lies_there(data())
    begun = anytime("train", "--config", config_file, "--run", "here", "--stage", "autoencoder")
    assert "training tiny into here: autoencoder" in begun.err
    assert "next: anytime train --run here" in begun.err
    refused = anytime("train", "--resume", "here")
    assert refused.status == 2
    assert "asked for stage autoencoder, which is finished: go on with anytime train --run here" in refused.err
    assert "trains codes and prior" in refused.err
    record = json.loads(Path("here/run.json").read_text())
    Path("here/run.json").write_text(json.dumps({**record, "stages": {}}))  # as after a kill
    assert anytime("train", "--resume", "here").status == 0
    assert stages_of(Path("here")) == ["autoencoder"]
    assert anytime("train", "--run", "here").status == 0
    assert stages_of(Path("here")) == list(STAGES)


@pytest.mark.parametrize("options", [("--resume", "here", "--stage", "all"), ("--resume", "auto", "--run", "here")])
def test_all_stages_are_trained_where_they_are_asked_for(anytime, finished, lies_there, options):
    lies_there(data())
    shutil.copytree(finished, "here")
    record = read_record(Path("here"))
    RunRecord.save(
        record.model_copy(update={"last_stage": "codes", "stages": {name: record.stages[name] for name in STAGES[:2]}}),
        Path("here"),
    )
    assert anytime("train", *options).status == 0
    assert stages_of(Path("here")) == list(STAGES)
    assert read_record(Path("here")).last_stage == "prior"


def test_evaluate_takes_nothing_but_where_the_data_lies(anytime, started):
    refused = anytime("evaluate", "--run", started, "--set", "data.size=16")
    assert refused.status == 2
    assert (
        "'data.size=16' does not say where the data of a trained run lies: use data.root, data.download" in refused.err
    )
