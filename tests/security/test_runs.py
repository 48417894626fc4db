"""Runs that others made: links, devices, and records that lie."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from anytime_core.data.reading import JSON_LIMIT
from anytime_core.errors import RunError, UsageError
from anytime_core.evaluation.drawn import DrawnCodes
from anytime_core.jobs.ledger import Ledger
from anytime_core.jobs.output_folder import FILLING
from anytime_core.jobs.sampling import write_samples
from anytime_core.record import read_record
from anytime_core.run import load
from anytime_core.sampling.deadline import Costs
from anytime_core.sampling.options import SamplingOptions


@pytest.mark.parametrize(
    "name",
    [
        "run.json",
        "config.yaml",
        "autoencoder.safetensors",
        "prior.safetensors",
        "costs.json",
        "metrics.jsonl",
        "codes/train.npy",
        "evaluation/classifier.safetensors",
        "samples/1.0",
        "samples/.partial-1.0-abc/entries.jsonl",
        ".partial-1-costs.json",
    ],
)
@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "relative"])
def test_a_link_out_of_a_run_is_refused_by_name(name, relative, run_copy, outside):
    path = run_copy / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    target = outside / "precious"
    path.symlink_to(os.path.relpath(target, path.parent) if relative else target)
    with pytest.raises(RunError, match="leads out of the run") as refused:
        load(run_copy, device="cpu")
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("name", ["codes", "evaluation", "samples", "previews", "tensorboard", "checkpoints"])
def test_a_folder_of_a_run_that_lies_elsewhere_is_refused_by_name(name, run_copy, outside):
    shutil.rmtree(run_copy / name, ignore_errors=True)
    (run_copy / name).symlink_to(outside)
    with pytest.raises(RunError, match="leads out of the run") as refused:
        load(run_copy, device="cpu")
    assert str(run_copy / name) in str(refused.value)


def test_a_link_to_nowhere_and_one_to_itself_are_refused(run_copy):
    (run_copy / "a").symlink_to("../gone")
    with pytest.raises(RunError, match="leads out of the run"):
        load(run_copy, device="cpu")
    (run_copy / "a").unlink()
    (run_copy / "run.json").unlink()
    (run_copy / "run.json").symlink_to("run.json")
    with pytest.raises(RunError, match=r"run\.json"):
        load(run_copy, device="cpu")


def test_a_pipe_in_a_run_is_refused_instead_of_waited_for(run_copy):
    (run_copy / "costs.json").unlink(missing_ok=True)
    os.mkfifo(run_copy / "costs.json")
    with pytest.raises(RunError, match="neither a file nor a folder") as refused:
        load(run_copy, device="cpu")
    assert str(run_copy / "costs.json") in str(refused.value)


def test_links_within_a_run_and_a_link_to_a_run_are_fine(run_copy, tmp_path):
    (run_copy / "latest").symlink_to("previews")
    (tmp_path / "link").symlink_to(run_copy)
    assert load(tmp_path / "link", device="cpu").sample(1, engine="plain").x.shape == (1, 1, 8, 8)


def edited(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], bytes]:
    def content(record: dict[str, Any]) -> bytes:
        change(record)
        return json.dumps(record).encode()

    return content


def validated(stage: str, **values: Any) -> Callable[[dict[str, Any]], bytes]:
    return edited(lambda record: record["stages"][stage]["validation"].update(values))


RECORDS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "deep": lambda record: b"[" * 100_000,
    "deep inside": lambda record: b'{"format_version": 1, "config": ' + b'{"a":' * 50_000,
    "a number of many digits": lambda record: b'{"format_version": ' + b"9" * 100_000 + b"}",
    "too long": lambda record: json.dumps(record).encode() + b" " * JSON_LIMIT,
    "another code length": edited(lambda record: record.update(code_length=2**60)),
    "another codebook": edited(lambda record: record.update(codebook_size=17)),
    "no codebook": edited(lambda record: record.update(codebook_size=None)),
    "fewer classes": edited(lambda record: record.update(classes=["one"])),
    "a plugin from nowhere": edited(lambda record: record.update(plugin={})),
    "an import path": edited(lambda record: record.update(modality="os:system")),
    "a path as modality": edited(lambda record: record.update(modality="../../etc/passwd")),
    "deep, but no deeper than can be read": edited(
        lambda record: record["config"].update(a=json.loads("[" * 90 + "]" * 90))
    ),
    "infinite": edited(lambda record: record["config"].update(a=math.inf)),
    "a number too large": lambda record: (
        json.dumps(record | {"config": {"a": 12345}}).replace("12345", "1e999").encode()
    ),
    "no number, among what is not known": edited(lambda record: record.update(later=[{"a": math.nan}])),
    "no time": edited(lambda record: record.update(created="[/b]")),
    "a version that is a number": edited(lambda record: record["plugin"].update(version=5)),
    "libraries without names": edited(lambda record: record.update(libraries=["torch"])),
    "a section that is none": edited(lambda record: record["config"].update(autoencoder=[1])),
    "a section of the prior that is none": edited(lambda record: record["config"].update(prior="gru")),
    "negative steps": edited(lambda record: record["stages"]["prior"].update(steps=-1)),
    "a stage that took for ever": edited(lambda record: record["stages"]["prior"].update(seconds=math.inf)),
    "a validation that is none": edited(lambda record: record["stages"]["prior"].update(validation=[1])),
    "a curve that is none": validated("autoencoder", reconstruction=[1, 2]),
    "a curve of words": validated("autoencoder", reconstruction={"loss": ["a"] * 3}),
    "a curve of another length": validated("autoencoder", reconstruction={"\x1b]0;title\x07": [1.0]}),
    "a curve that is infinite": validated("autoencoder", codes=[1], reconstruction={"loss": [-math.inf]}),
    "codes that are not ascending": validated("autoencoder", codes=[2, 1], reconstruction={}),
    "codes that there are none of": validated("autoencoder", codes=[1, 2**20], reconstruction={}),
    "no codes at all": validated("autoencoder", codes=[0], reconstruction={}),
    "more than all of the codebook": validated("autoencoder", codebook_use=1.5),
    "fewer than no samples": validated("autoencoder", samples=-1),
    "bits that are a number": validated("prior", bits_per_position=5),
    "bits of more codes": validated("prior", bits_per_position=[1.0] * 99),
    "bits that are no number": validated("prior", bits_per_code=math.nan),
    "bits that are a word": validated("prior", bits_per_code="few"),
    "steps that are no lists": validated("prior", bits_per_step=[1.0]),
    "stages that there are none of": edited(lambda record: record.update(stages={"../x": {"steps": 1, "seconds": 1}})),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_that_lies_is_one_error_that_names_it(name, run_copy):
    path = run_copy / "run.json"
    path.write_bytes(RECORDS[name](json.loads(path.read_text())))
    with pytest.raises(RunError) as refused:
        load(run_copy, device="cpu")
    assert str(path) in str(refused.value)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 1000


def test_what_a_later_version_records_is_kept(run_copy):
    path = run_copy / "run.json"
    told = json.loads(path.read_text())
    later = {"later": {"a": [1, None, "b"]}}
    told |= later
    told["stages"]["prior"] |= later
    told["stages"]["prior"]["validation"] |= later
    path.write_text(json.dumps(told))
    read_record(run_copy).save(run_copy)
    assert json.loads(path.read_text()) == told
    assert load(run_copy, device="cpu").sample(1, "adaptive").x.shape == (1, 1, 8, 8)


def test_a_record_without_validation_is_read_and_written_as_it_was(run_copy):
    path = run_copy / "run.json"
    told = json.loads(path.read_text())
    for stage in told["stages"].values():
        stage["validation"] = {}
    path.write_text(json.dumps(told))
    read_record(run_copy).save(run_copy)
    assert json.loads(path.read_text()) == told


@pytest.mark.parametrize("content", [b"[" * 100_000, b" " * (JSON_LIMIT + 1), b'{"cpu": {"decode": {"1": [1e999]}}}'])
def test_costs_that_make_no_sense_are_measured_again(content, tmp_path):
    import torch

    (tmp_path / "costs.json").write_bytes(content)
    assert Costs(tmp_path / "costs.json", torch.device("cpu")).expected("decode", 1) is None


MARK = {"done": 1, "most": 1, "calls": 1, "seconds": {}, "output": None, "entries": 0}


@pytest.mark.parametrize(
    "mark",
    [
        5,
        [],
        {},
        {**MARK, "entries": 2**60},
        {**MARK, "entries": -1},
        {**MARK, "done": "1"},
        {**MARK, "output": {"number": "../../x", "inside": 0, "end": 0}},
        {**MARK, "output": {"number": 0, "inside": 0, "end": -1}},
        {**MARK, "seconds": [1]},
    ],
    ids=str,
)
def test_a_ledger_that_makes_no_sense_counts_for_nothing(mark, tmp_path):
    (tmp_path / "progress.jsonl").write_text(json.dumps(mark) + "\n")
    ledger = Ledger(tmp_path)
    ledger.close()
    assert ledger.last is None
    assert (tmp_path / "entries.jsonl").stat().st_size == 0
    assert (tmp_path / "progress.jsonl").read_bytes() == b""


def test_a_mark_of_another_job_is_not_gone_on_with(run_copy, tmp_path, monkeypatch):
    """Whoever knows where a job will write could leave its temporary folder there beforehand."""
    run = load(run_copy, device="cpu")
    monkeypatch.setattr("anytime_core.jobs.description.SamplingJob.digest", lambda job: "job")
    partial = tmp_path / ".partial-out-job"
    partial.mkdir()
    (partial / FILLING).touch()
    place = {"number": 3, "inside": 0, "end": 2**40}
    (partial / "progress.jsonl").write_text(json.dumps({**MARK, "output": place}) + "\n")
    record = write_samples(run, tmp_path / "out", range(3), 1.0, SamplingOptions(engine="plain"))
    assert record["num"] == 3
    assert {"000000.png", "000002.png", "samples.json"} <= {path.name for path in (tmp_path / "out").iterdir()}


@pytest.mark.parametrize("planted", ["progress.jsonl", "entries.jsonl"])
def test_a_ledger_that_is_a_link_is_not_written_through(planted, run_copy, tmp_path, outside, monkeypatch):
    """The name of a job's temporary folder follows from the command line and the run, which others may know."""
    run = load(run_copy, device="cpu")
    monkeypatch.setattr("anytime_core.jobs.description.SamplingJob.digest", lambda job: "job")
    partial = tmp_path / ".partial-out-job"
    partial.mkdir()
    (partial / FILLING).touch()
    (partial / planted).symlink_to(outside / "precious")
    with pytest.raises(UsageError, match=f"{planted} is not a file of this job: remove it"):
        write_samples(run, tmp_path / "out", range(3), 1.0, SamplingOptions(engine="plain"))


def test_a_folder_of_somebody_s_in_the_place_of_a_job_s_is_not_emptied(run_copy, tmp_path, outside, monkeypatch):
    run = load(run_copy, device="cpu")
    monkeypatch.setattr("anytime_core.jobs.description.SamplingJob.digest", lambda job: "job")
    outside.rename(tmp_path / ".partial-out-job")
    with pytest.raises(UsageError, match="is not of this job, and would be emptied: remove it"):
        write_samples(run, tmp_path / "out", range(3), 1.0, SamplingOptions(engine="plain"))
    (tmp_path / ".partial-out-job").rename(outside)


def test_kept_codes_that_there_are_none_of_are_an_error_that_names_the_file(tiny_run, tmp_path):
    drawn = DrawnCodes(tmp_path, tiny_run, 2, 3, SamplingOptions())
    drawn.draw()
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"\xff" * (4 * 2 * 3))
    with pytest.raises(RunError, match=str(file)):
        list(drawn.decoded(3, 2))
