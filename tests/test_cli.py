"""The command line: what each command prints and writes, and what it says to wrong input."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import json
import logging
import math
import os
import re
import shlex
import shutil
import signal
import sys
import tarfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import TINY, Result
from PIL import Image, ImageSequence

from anytime_cli import progress
from anytime_core.config import Config
from anytime_core.config_parsing import parse_config, read_yaml
from anytime_core.jobs.sampling import write_samples
from anytime_core.record import CONFIG_FILE, read_record
from anytime_core.run import Run
from anytime_core.sampling.engines import Engines
from anytime_core.sampling.options import SamplingOptions
from anytime_core.weights import weights_digest
from anytime_image.modality import ImageModality

Anytime = Callable[..., Result]

QUICK: dict[str, Any] = {
    **TINY,
    "training": {
        "device": "cpu",
        "precision": "float32",
        "autoencoder": {"steps": 3, "batch_size": 16, "validations": 1, "validation_samples": 32},
        "prior": {"steps": 3, "batch_size": 16, "validations": 1, "validation_samples": 32},
    },
}
"""A config that trains in half a second."""

SAMPLE_KEYS = {"run", "budget", "codes", "code_length", "calls", "seed", "num", "interrupted", "seconds", "samples"}
CODES = 8


def write_config(path: Path) -> Path:
    path.write_text(yaml.safe_dump(QUICK))
    return path


def json_of(result: Result) -> Any:
    """The one JSON value on stdout of a command that did its work."""
    assert result.status == 0, result.err
    return json.loads(result.out)


def config_of(run: Path) -> Config:
    return parse_config(read_yaml(run / CONFIG_FILE), ImageModality.Config)


def contents(folder: Path, pattern: str = "*") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob(pattern)}


def listing(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its content, every folder with None."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.fixture
def here(anytime: Anytime, tiny_folder: Path, tmp_path: Path) -> Path:
    """The working folder of `anytime`, with the tiny run as its only one."""
    shutil.copytree(tiny_folder, tmp_path / "runs" / "tiny")
    return tmp_path


# train


def test_train_makes_numbered_runs_that_sample(anytime, tmp_path):
    write_config(tmp_path / "mine.yaml")
    first = json_of(anytime("train", "--config", "mine.yaml", "--json"))
    assert {"run", "modality", "recipe", "stages", "code_length", "codebook_size", "validation"} <= set(first)
    assert (first["run"], first["modality"], first["recipe"]) == ("runs/mine-1", "image", "mine")
    assert (first["code_length"], first["codebook_size"]) == (CODES, 16)
    assert list(first["stages"]) == ["autoencoder", "codes", "prior"]
    assert all(set(stage) >= {"seconds", "steps"} for stage in first["stages"].values())
    assert first["stages"]["prior"]["steps"] == 3
    assert {"autoencoder", "prior"} <= set(first["validation"])
    second = anytime("train", "--config", "mine.yaml", "--seed", 1)
    assert (second.status, second.out) == (0, "")
    assert re.search(r"anytime sample --run runs/mine-2", second.err)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["mine-1", "mine-2"]
    sampled = json_of(anytime("sample", "--num", 2, "--json"))
    assert sampled["run"] == "runs/mine-2"


def test_the_default_recipe_is_trained_without_any_option(anytime, tmp_path):
    steps = [
        f"--set=training.{stage}.{key}=1" for stage in ("autoencoder", "prior") for key in ("steps", "validations")
    ]
    trained = json_of(anytime("train", *steps, "--device", "cpu", "--json"))
    assert (trained["run"], trained["recipe"]) == ("runs/image-digits-1", "image/digits")


def test_a_run_is_finished_stage_by_stage(anytime, tmp_path):
    write_config(tmp_path / "mine.yaml")
    assert anytime("train", "--config", "mine.yaml", "--run", "here", "--stage", "autoencoder").status == 0
    for stage in ("codes", "prior"):
        assert anytime("train", "--run", "here", "--stage", stage).status == 0
    assert list(read_record(tmp_path / "here").stages) == ["autoencoder", "codes", "prior"]
    assert len(json_of(anytime("sample", "--run", "here", "--num", 3, "--json"))["samples"]) == 3


def test_options_and_overrides_reach_the_config(anytime, tmp_path):
    write_config(tmp_path / "mine.yaml")
    options = ("--set", "network.channels=5", "--set=loss=l1", "--seed", 7, "--precision", "bfloat16")
    assert anytime("train", "--config", "mine.yaml", "--run", "here", "--stage", "autoencoder", *options).status == 0
    config = config_of(tmp_path / "here")
    assert (config.core.seed, config.core.training.precision) == (7, "bfloat16")
    assert (config.modality.network.channels, config.modality.loss) == (5, "l1")


def test_the_config_of_a_run_feeds_config_again(anytime, here, tiny_folder):
    stage = ("--stage", "autoencoder")
    assert anytime("train", "--config", "runs/tiny/config.yaml", "--run", "again", *stage).status == 0
    name = "autoencoder.safetensors"
    assert (here / "again" / name).read_bytes() == (tiny_folder / name).read_bytes()


# sample


def test_sample_writes_what_its_json_says(anytime, here):
    printed = json_of(anytime("sample", "--budget", "60%", "--num", 12, "--seed", 3, "--out", "out", "--json"))
    assert set(printed) >= SAMPLE_KEYS
    assert printed == json.loads((here / "out" / "samples.json").read_text())
    assert (printed["run"], printed["seed"], printed["interrupted"]) == ("runs/tiny", 3, False)
    assert (printed["codes"], printed["code_length"], printed["calls"]) == (5, CODES, 5)
    assert set(printed["seconds"]) >= {"load", "codes", "decode", "write"}
    samples = printed["samples"]
    assert [(sample["index"], sample["label"], sample["codes"]) for sample in samples] == [
        (index, str(index % 10), 5) for index in range(12)
    ]
    for name in [sample["file"] for sample in samples]:
        with Image.open(here / "out" / name) as image:
            assert image.size == (8, 8)
    with Image.open(here / "out" / "preview.png") as preview:
        assert preview.width > 64
    assert set(contents(here / "out")) == {sample["file"] for sample in samples} | {"preview.png", "samples.json"}


def test_sample_prints_nothing_on_stdout_for_people(anytime, here):
    result = anytime("sample", "--num", 2, "--out", "out")
    assert (result.status, result.out) == (0, "")
    assert "out/preview.png" in result.err


def test_sample_takes_sixteen_at_full_budget_from_the_latest_run_into_its_folder(anytime, here):
    shutil.copytree(here / "runs" / "tiny", here / "runs" / "a-newer-one")
    read_record(here / "runs" / "tiny").save(here / "runs" / "a-newer-one")
    printed = json_of(anytime("sample", "--json"))
    assert (printed["run"], printed["codes"], len(printed["samples"])) == ("runs/a-newer-one", CODES, 16)
    assert [path.parts[:3] for path in (here / "runs").glob("*/samples/*/samples.json")] == [
        (*here.parts, "runs", "a-newer-one")[:3]
    ]


@pytest.mark.parametrize("other", [("--budget", "0.5"), ("--seed", "1"), ("--label", "3")])
def test_default_output_folders_of_other_options_are_others(anytime, here, other):
    json_of(anytime("sample", "--num", 1, "--json"))
    json_of(anytime("sample", "--num", 1, *other, "--json"))
    assert len(list((here / "runs" / "tiny" / "samples").iterdir())) == 2


@pytest.mark.parametrize("options", [(), ("--label", "3"), ("--top-k", 4), ("--budget", "3codes", "--engine", "plain")])
def test_shards_together_are_what_one_call_gives(anytime, here, options):
    call = ("sample", "--num", 9, "--seed", 2, *options)
    assert anytime(*call, "--out", "whole").status == 0
    printed = [json_of(anytime(*call, "--shard", f"{part}/2", "--out", f"part{part}", "--json")) for part in (0, 1)]
    whole = contents(here / "whole", "0*.png")
    assert len(whole) == 9
    assert {**contents(here / "part0", "0*.png"), **contents(here / "part1", "0*.png")} == whole
    indices = [[sample["index"] for sample in record["samples"]] for record in printed]
    assert indices == [[0, 2, 4, 6, 8], [1, 3, 5, 7]]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(anytime, here):
    for out, seed in (("first", 4), ("again", 4), ("other", 5)):
        assert anytime("sample", "--num", 5, "--seed", seed, "--out", out).status == 0
    first, again, other = (contents(here / out, "*.png") for out in ("first", "again", "other"))
    assert first == again
    assert first != other


def test_samples_replace_those_of_an_earlier_call_only_where_that_is_said(anytime, here):
    assert anytime("sample", "--num", 3, "--out", "out").status == 0
    (here / "out" / "notes.txt").write_bytes(b"mine")
    before = contents(here / "out")
    refused = anytime("sample", "--num", 2, "--seed", 1, "--out", "out")
    assert (refused.status, refused.out) == (2, "")
    assert "out holds 5 files (000000.png, 000001.png, 000002.png, ...) of an earlier job" in error_of(refused)[0]
    assert "--overwrite" in error_of(refused)[0]
    assert contents(here / "out") == before
    assert anytime("sample", "--num", 2, "--seed", 1, "--out", "out", "--overwrite").status == 0
    left = contents(here / "out")
    assert set(left) == {"000000.png", "000001.png", "notes.txt", "preview.png", "samples.json"}
    assert left["notes.txt"] == b"mine"
    assert left["000000.png"] != before["000000.png"]


@pytest.mark.parametrize("command", ["sample --num 3", "reconstruct photo.png"])
def test_the_same_call_without_a_folder_can_be_repeated(anytime, here, command):
    Image.radial_gradient("L").save(here / "photo.png")
    for _ in range(2):
        assert anytime(*shlex.split(command)).status == 0


def test_json_is_samples_json_to_the_byte(anytime, here):
    result = anytime("sample", "--num", 3, "--out", "out", "--json")
    assert result.status == 0
    assert result.out == (here / "out" / "samples.json").read_text()


def test_without_a_terminal_the_only_line_is_the_last_one(anytime, here):
    (line,) = anytime("sample", "--num", 70, "--batch-size", 8, "--out", "out").err.splitlines()
    assert re.fullmatch(r"70 samples of 8 of 8 codes in \d+\.\d\d s: out/preview\.png", line)


class Terminal(io.StringIO):
    """Remembers what is shown on it."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_a_bar_shows_the_samples_that_are_done(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with progress.bar("drawing") as advance:
        advance(3, 70)
        advance(64, 70)
    shown = sys.stderr.getvalue()
    assert "drawing" in shown
    assert "64/70" in shown


def test_the_bar_is_told_of_samples_in_batches_of_the_size_that_was_asked_for(anytime, here, monkeypatch):
    told = []

    @contextlib.contextmanager
    def bar(activity: str) -> Iterator[Callable[[int, int], None]]:
        yield lambda done, total: told.append((done, total))

    monkeypatch.setattr(progress, "bar", bar)
    assert anytime("sample", "--num", 10, "--batch-size", 4, "--budget", "2codes", "--out", "out").status == 0
    assert told == [(0, 10), (0, 10), (4, 10), (4, 10), (8, 10), (8, 10)]
    assert anytime("sample", "--num", 10, "--budget", "2codes", "--out", "at once").status == 0
    assert contents(here / "out", "*.png") == contents(here / "at once", "*.png")


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Names and precisions of the engines that a run is asked for."""
    asked: list[tuple[str, str]] = []
    get = Engines.get

    def noted(self: Engines, name: str, precision: str) -> object:
        asked.append((name, precision))
        return get(self, name, precision)

    monkeypatch.setattr(Engines, "get", noted)
    return asked


@pytest.mark.parametrize(
    ("name", "precision"),
    [("plain", "float32"), ("eager", "float32"), ("eager", "bfloat16"), ("numba", "float32"), ("numba", "int8")],
)
def test_the_engine_and_the_precision_are_those_that_were_asked_for(anytime, here, engines, name, precision):
    options = ("--num", 5, "--device", "cpu", "--engine", name, "--precision", precision)
    printed = json_of(anytime("sample", *options, "--out", "out", "--json"))
    assert set(engines) == {(name, precision)}
    assert [sample["codes"] for sample in printed["samples"]] == [CODES] * 5
    if precision == "float32":
        assert anytime("sample", "--num", 5, "--device", "cpu", "--engine", "plain", "--out", "plain").status == 0
        assert contents(here / "out", "*.png") == contents(here / "plain", "*.png")


@pytest.mark.parametrize(
    ("precision", "names"), [("int8", {"numba"}), ("bfloat16", {"eager"}), ("auto", {"eager", "numba"})]
)
def test_without_an_engine_one_is_taken_that_has_the_precision(anytime, here, engines, precision, names):
    assert anytime("sample", "--num", 5, "--device", "cpu", "--precision", precision, "--out", "out").status == 0
    assert {name for name, _ in engines} <= names
    assert {given for _, given in engines} <= ({precision} if precision != "auto" else {"float32", "bfloat16"})
    assert engines


def test_default_output_folders_have_names_for_every_file_system(anytime, here):
    calls = [
        (),
        ("--budget", "200ms"),
        ("--budget", "adaptive"),
        ("--budget", "adaptive:0.25"),
        ("--budget", "3codes"),
        ("--shard", "0/2"),
        ("--shard", "1/2"),
        ("--temperature", "0.5"),
        ("--top-k", "3"),
        ("--top-p", "0.5"),
    ]
    for call in calls:
        assert anytime("sample", "--num", 2, *call).status == 0
    made = [path.name for path in (here / "runs" / "tiny" / "samples").iterdir()]
    assert len(made) == len(calls)
    for name in made:
        assert re.fullmatch(r"[\w.-]+", name), name


def test_progressive_samples_come_with_a_strip_and_an_animation_of_their_steps(anytime, here):
    printed = json_of(anytime("sample", "--num", 2, "--progressive", "--out", "out", "--json"))
    found = set(contents(here / "out")) - {"preview.png", "samples.json"}
    steps = {
        index: sorted(name for name in found if re.fullmatch(rf"{index}-\d+codes\.png", name))
        for index in ("000000", "000001")
    }
    assert found == {
        *(sample["file"] for sample in printed["samples"]),
        *(name for names in steps.values() for name in names),
        *(f"{index}{end}" for index in steps for end in ("-strip.png", ".gif")),
    }
    for index, names in steps.items():
        assert len(names) == 5
        pictures = [Image.open(here / "out" / name).convert("RGB") for name in names]
        frames = frames_of(here / "out" / f"{index}.gif")
        with Image.open(here / "out" / f"{index}-strip.png") as strip:
            strip.load()
        side = strip.height - 2 * GAP
        assert strip.width == GAP + len(names) * (side + GAP)
        for number, picture in enumerate(pictures):
            left = GAP + number * (side + GAP)
            tile = strip.crop((left, GAP, left + side, GAP + side))
            assert tile.tobytes() == picture.resize((side, side), Image.Resampling.NEAREST).tobytes()
        shown = [frame.resize((8, 8), Image.Resampling.NEAREST).tobytes() for frame in frames]
        assert shown == [content for content, _ in itertools.groupby(picture.tobytes() for picture in pictures)]


GAP = 2
"""Pixels around each picture of a strip."""


def frames_of(path: Path) -> list[Image.Image]:
    with Image.open(path) as animation:
        return [frame.convert("RGB") for frame in ImageSequence.Iterator(animation)]


# Deadlines and adaptive budgets


@pytest.fixture
def first_time(here: Path) -> Path:
    """A working folder whose run nobody has sampled from."""
    (here / "runs" / "tiny" / "costs.json").unlink(missing_ok=True)
    return here


def test_a_deadline_is_for_all_samples_and_leaves_out_a_preview_of_unknown_cost(anytime, first_time):
    printed = json_of(anytime("sample", "--num", 4, "--budget", "200ms", "--out", "out", "--json"))
    assert (printed["budget"], printed["num"], printed["interrupted"]) == ("200ms", 4, False)
    assert printed["preview"] is None
    codes = [sample["codes"] for sample in printed["samples"]]
    assert len(codes) == 4
    assert 1 <= min(codes) <= max(codes) == printed["calls"] <= CODES
    assert (printed["codes"], printed["code_length"]) == (CODES, CODES)
    assert set(contents(first_time / "out")) == {*(f"{index:06d}.png" for index in range(4)), "samples.json"}
    costs = json.loads((first_time / "runs" / "tiny" / "costs.json").read_text())
    assert [set(works) for works in costs.values()] == [{"decode", "write", "finish", "close"}]


def test_a_call_without_a_preview_tells_the_folder(anytime, first_time):
    result = anytime("sample", "--num", 2, "--budget", "200ms", "--out", "out")
    assert (result.status, result.out) == (0, "")
    assert re.search(r"(?m)2 samples of [1-8] of 8 codes in .*: out$", result.err)


def test_a_preview_of_earlier_samples_is_not_told_to_be_of_these(anytime, first_time):
    assert anytime("sample", "--num", 2, "--out", "out").status == 0
    (first_time / "runs" / "tiny" / "costs.json").unlink(missing_ok=True)
    result = anytime("sample", "--num", 2, "--seed", 1, "--budget", "200ms", "--out", "out", "--overwrite")
    assert result.status == 0
    assert "preview.png" not in result.err
    assert json.loads((first_time / "out" / "samples.json").read_text())["preview"] is None


def test_a_missed_deadline_is_told_with_what_would_have_been_enough(anytime, here):
    result = anytime("sample", "--num", 2, "--budget", "0.01ms", "--out", "out")
    deadline = json.loads((here / "out" / "samples.json").read_text())["deadline"]
    assert deadline["seconds"] == 0.00001 < deadline["took"] < 60
    over, enough = 1000 * (deadline["took"] - deadline["seconds"]), math.ceil(deadline["took"] * 100) * 10
    assert result.err.splitlines()[-1] == (
        f"missed the deadline of 0.01 ms by {over:.0f} ms: --budget {enough}ms would have been enough, or fewer samples"
    )
    assert "missed" not in anytime("sample", "--num", 2, "--budget", "1000s", "--out", "in-time").err


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"cpu": 3}', b'{"cpu": {"decode": {"x": [1]}}}', b"\xff"])
def test_a_damaged_file_of_costs_is_written_anew(anytime, first_time, content):
    costs = first_time / "runs" / "tiny" / "costs.json"
    costs.write_bytes(content)
    assert anytime("sample", "--num", 2, "--budget", "200ms", "--out", "out").status == 0
    assert "decode" in next(iter(json.loads(costs.read_text()).values()))


@pytest.mark.parametrize("options", [("--pack",), ("--progressive",), ("--shard", "1/2"), ("--engine", "plain")])
def test_a_deadline_goes_with_every_other_option(anytime, first_time, options):
    printed = json_of(anytime("sample", "--num", 4, "--budget", "1000s", "--out", "out", *options, "--json"))
    num = 2 if "--shard" in options else 4
    assert (printed["num"], printed["calls"], printed["interrupted"]) == (num, CODES, False)
    assert len(printed["samples"]) == num


def test_an_adaptive_budget_ends_each_sample_by_itself(anytime, here):
    printed = json_of(anytime("sample", "--num", 12, "--budget", "adaptive", "--json"))
    assert (printed["budget"], printed["codes"], printed["interrupted"]) == ("adaptive:0.5", CODES, False)
    codes = [sample["codes"] for sample in printed["samples"]]
    assert 1 <= min(codes) <= max(codes) == printed["calls"] <= CODES
    said = anytime("sample", "--num", 12, "--budget", "adaptive").err
    assert f"12 samples of up to {max(codes)} of {CODES} codes in " in said


def test_the_threshold_of_an_adaptive_budget_is_a_price(anytime, here):
    mean = []
    for threshold in ("0.001", "1", "1000"):
        printed = json_of(anytime("sample", "--num", 12, "--budget", f"adaptive:{threshold}", "--json"))
        mean.append(sum(sample["codes"] for sample in printed["samples"]) / 12)
    assert mean[0] >= mean[1] >= mean[2] == 1
    assert mean[0] > 1


# Tar shards


def test_packed_samples_are_those_of_the_folder(anytime, here):
    assert anytime("sample", "--num", 12, "--out", "files").status == 0
    printed = json_of(anytime("sample", "--num", 12, "--pack", "--out", "out", "--json"))
    assert set(contents(here / "out")) == {"samples-000000.tar", "preview.png", "samples.json"}
    with tarfile.open(here / "out" / "samples-000000.tar") as tar:
        for sample in printed["samples"]:
            shard, member = sample["file"].split("/")
            assert shard == "samples-000000.tar"
            assert tar.extractfile(member).read() == (here / "files" / f"{sample['index']:06d}.png").read_bytes()
        assert len(tar.getnames()) == 3 * 12


def test_a_folder_of_shards_says_where_it_is(anytime, here):
    result = anytime("sample", "--num", 3, "--pack", "--out", "out")
    assert (result.status, result.out) == (0, "")
    assert "3 samples" in result.err
    assert "out/preview.png" in result.err


# reconstruct


def test_reconstruct_writes_what_its_json_says(anytime, here):
    for folder in ("a", "b"):
        (here / folder).mkdir()
        Image.radial_gradient("L").save(here / folder / "photo.png")
    files = ("a/photo.png", "b/photo.png")
    printed = json_of(anytime("reconstruct", *files, "--budget", "4codes", "--out", "out", "--json"))
    assert (printed["run"], printed["codes"], printed["code_length"]) == ("runs/tiny", 4, CODES)
    assert [entry["source"] for entry in printed["reconstructions"]] == list(files)
    names = [entry["file"] for entry in printed["reconstructions"]]
    assert len(set(names)) == 2
    for entry in printed["reconstructions"]:
        assert set(entry["metrics"]) >= {"mse", "psnr"}
        with Image.open(here / "out" / entry["file"]) as image:
            assert image.size == (8, 8)
    assert (here / "out" / "preview.png").is_file()


def test_reconstruct_by_default_writes_below_the_run_and_tells_where(anytime, here):
    Image.radial_gradient("L").save(here / "photo.png")
    result = anytime("reconstruct", "photo.png")
    assert (result.status, result.out) == (0, "")
    written = list((here / "runs" / "tiny" / "reconstructions").rglob("photo.png"))
    assert len(written) == 1
    assert str(written[0].relative_to(here)) in result.err


def test_reconstructing_a_file_called_preview_keeps_it_apart_from_the_preview(anytime, here):
    Image.radial_gradient("L").save(here / "preview.png")
    printed = json_of(anytime("reconstruct", "preview.png", "--out", "out", "--json"))
    with Image.open(here / "out" / printed["reconstructions"][0]["file"]) as image:
        assert image.size == (8, 8)


# runs, recipes, plugins, doctor


def test_runs_list_shows_every_run_and_survives_a_damaged_one(anytime, here):
    (here / "runs" / "damaged").mkdir()
    (here / "runs" / "damaged" / "run.json").write_text("{")
    damaged, tiny = sorted(json_of(anytime("runs", "list", "--json")), key=lambda row: row["run"])
    assert damaged["run"] == "runs/damaged"
    assert "run.json" in damaged["problem"]
    assert (tiny["run"], tiny["recipe"], tiny["problem"]) == ("runs/tiny", "image/tiny", None)
    assert (tiny["code_length"], tiny["codebook_size"]) == (CODES, 16)
    assert (tiny["stages"], tiny["prior"]) == (["autoencoder", "codes", "prior"], "transformer")
    table = anytime("runs", "list")
    assert table.status == 0
    assert {"runs/tiny", "image/tiny", "transformer", "runs/damaged"} <= set(table.out.split())


def test_runs_list_without_runs_says_how_to_get_one(anytime):
    assert json_of(anytime("runs", "list", "--json")) == []
    result = anytime("runs", "list")
    assert (result.status, result.out) == (0, "")
    assert "anytime train" in result.err


@pytest.mark.parametrize("argument", [(), ("runs/tiny",)], ids=["latest", "named"])
def test_runs_show_tells_what_a_run_is(anytime, here, argument):
    shown = json_of(anytime("runs", "show", *argument, "--json"))
    assert shown["run"] == "runs/tiny"
    assert shown["config"]["network"]["channels"] == CODES
    assert set(shown["stages"]) == {"autoencoder", "codes", "prior"}
    digests = {stage: weights_digest(Path("runs/tiny") / f"{stage}.safetensors") for stage in ("autoencoder", "prior")}
    assert {stage: shown["stages"][stage]["digest"] for stage in digests} == digests
    text = anytime("runs", "show", *argument).out
    assert all(f"weights of {stage}" in text and digest in text for stage, digest in digests.items())
    assert "image/tiny" in text
    assert "bits per code" in text


def test_recipes_list_names_and_describes_them(anytime):
    recipes = {recipe["name"]: recipe["description"] for recipe in json_of(anytime("recipes", "list", "--json"))}
    assert {"image/digits", "image/mnist", "image/folder"} <= set(recipes)
    assert all(recipes.values())
    table = anytime("recipes", "list").out
    assert all(name in table and description in table for name, description in recipes.items())


def test_recipes_show_prints_a_config_that_trains(anytime, tmp_path):
    shown = anytime("recipes", "show", "digits")
    assert shown.status == 0
    as_json = json_of(anytime("recipes", "show", "image/digits", "--json"))
    assert yaml.safe_load(shown.out) == as_json
    assert as_json["training"]["autoencoder"]["steps"] == 1500
    (tmp_path / "shown.yaml").write_text(shown.out)
    quick = ("--set=training.autoencoder.steps=1", "--set=training.autoencoder.validations=1", "--device", "cpu")
    assert anytime("train", "--config", "shown.yaml", "--run", "here", "--stage", "autoencoder", *quick).status == 0
    assert as_json.pop("quick")["training"]["autoencoder"]["steps"] < 1500
    assert as_json.pop("priors")["gru"]["prior"]["width"] > 0
    as_json["training"]["autoencoder"].update(steps=1, validations=1)
    as_json["training"]["device"] = "cpu"
    assert config_of(tmp_path / "here").to_dict() == as_json


def test_quick_trains_the_variant_that_a_config_says_and_tells_it_apart(anytime, tmp_path):
    write_config(tmp_path / "mine.yaml")
    data = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    quick = {"network": {"channels": 4}, "training": {"autoencoder": {"steps": 2}, "prior": {"steps": 3}}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**data, "quick": quick}))
    options = ("--quick", "--baseline", "dedicated-3", "--set", "training.prior.steps=2", "--json")
    trained = json_of(anytime("train", "--config", "mine.yaml", *options))
    assert (trained["run"], trained["quick"]) == ("runs/mine-quick-dedicated-3-1", True)
    assert (trained["code_length"], trained["recipe"], trained["baseline"]) == (3, "mine", "dedicated-3")
    assert [stage["steps"] for stage in trained["stages"].values()][::2] == [2, 2]
    run = tmp_path / trained["run"]
    assert (read_record(run).quick, "quick" in yaml.safe_load((run / "config.yaml").read_text())) == (True, False)
    assert anytime("train", "--run", run, "--quick", "--stage", "prior", "--force").status == 0
    assert read_record(run).quick


@pytest.mark.parametrize(("arguments", "path"), [((), "mnist.yaml"), (("mine.yaml",), "mine.yaml")])
def test_recipes_copy_writes_a_config_with_its_comment(anytime, tmp_path, arguments, path):
    result = anytime("recipes", "copy", "image/mnist", *arguments)
    assert (result.status, result.out) == (0, "")
    assert f"anytime train --config {path}" in result.err
    copied = (tmp_path / path).read_text()
    assert copied.startswith("# MNIST")
    assert yaml.safe_load(copied)["data"]["name"] == "mnist"


def test_recipes_copy_can_answer_in_json(anytime, tmp_path):
    assert isinstance(json_of(anytime("recipes", "copy", "image/mnist", "--json")), dict)
    assert (tmp_path / "mnist.yaml").exists()


@pytest.mark.parametrize("check", [(), ("--check",)], ids=["unchecked", "checked"])
def test_plugins_list_names_the_image_modality(anytime, check):
    image = next(
        plugin for plugin in json_of(anytime("plugins", "list", *check, "--json")) if plugin["name"] == "image"
    )
    assert (image["state"], image["problem"]) == ("ok", "")
    assert (image["target"], image["version"]) == ("anytime_image.modality:ImageModality", "0.1.0")
    assert re.fullmatch("anytime[-_]toolkit", image["distribution"])
    assert "anytime_image.modality:ImageModality" in anytime("plugins", "list", *check).out


def test_doctor_tells_versions_devices_plugins_and_data_folders(anytime, monkeypatch):
    monkeypatch.setenv("ANYTIME_DATA", "/where/data/is")
    report = json_of(anytime("doctor", "--json"))
    assert report["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert "cpu" in [device["device"] for device in report["devices"]]
    assert {"name": "image", "state": "ok", "problem": ""} in report["modalities"]
    assert "/where/data/is/NAME" in report["data"]["looked_for_in"]
    text = anytime("doctor").out
    assert {"torch", "cpu", "image", "/where/data/is/NAME"} <= set(text.split())


@pytest.mark.parametrize(
    "arguments",
    [
        *(
            [command, "--help"]
            for command in ("train", "sample", "reconstruct", "doctor", "runs", "recipes", "plugins")
        ),
        ["-h"],
        [],
    ],
    ids=lambda arguments: " ".join(arguments) or "nothing",
)
def test_help_is_printed_on_stdout(anytime, arguments):
    result = anytime(*arguments)
    assert (result.status, result.err) == (0, "")
    assert re.search(r"Usage: .*anytime", result.out)


def test_help_of_the_main_commands_has_examples(anytime):
    for command in ("train", "sample", "reconstruct"):
        assert re.search(rf"Examples.*anytime {command}", anytime(command, "--help").out, re.DOTALL)


def test_version_is_printed(anytime):
    assert anytime("--version").out == "anytime 0.1.0\n"


# Bad input


def error_of(result: Result) -> list[str]:
    """The lines of the error that a command ended with, after what it said before."""
    lines = result.err.splitlines()
    starts = [index for index, line in enumerate(lines) if line.startswith("error: ")]
    assert len(starts) == 1, result.err
    assert "Traceback" not in result.err
    assert "this is a bug" not in result.err
    return lines[starts[0] :]


def test_without_any_run_the_error_says_how_to_get_one(anytime, tmp_path):
    for command in (("sample",), ("reconstruct", "photo.png"), ("runs", "show")):
        result = anytime(*command)
        assert result.status == 1
        assert re.search("runs: train one with anytime train", "\n".join(error_of(result)))
    assert listing(tmp_path) == {}


def test_debug_shows_where_an_error_comes_from(anytime, monkeypatch):
    with pytest.raises(Exception, match="no run at missing"):
        anytime("sample", "--run", "missing", "--debug")


def test_the_way_out_of_missing_weights_works(anytime, here):
    """Each error names a command; following them from a run that lost its autoencoder ends in samples."""
    (here / "runs" / "tiny" / "autoencoder.safetensors").unlink()
    for _ in range(4):
        result = anytime("sample", "--num", 1)
        if result.status == 0:
            return
        command = re.search(r"anytime (train --run runs/tiny[\w -]*)", result.err)
        assert command, result.err
        assert anytime(*command[1].split()).status == 0, f"{command[0]} came from: {result.err}"
    pytest.fail(result.err)


# Interrupts and full disks


@pytest.mark.parametrize(
    ("num", "stop_at", "expected"), [(5, 3, [3] * 5), (70, 10, [8] * 64 + [2] * 6), (70, 8, [8] * 64)]
)
def test_stopping_writes_the_samples_that_were_begun(tiny_run: Run, tmp_path, num, stop_at, expected):
    """Batches have 64 samples, so that code 10 is the second one of the second batch."""
    drawn: list[int] = []
    record = write_samples(
        tiny_run,
        tmp_path / "out",
        range(num),
        1.0,
        stopped=lambda: len(drawn) >= stop_at,
        on_drawn=lambda samples, codes: drawn.append(codes),
    )
    assert record["interrupted"] is True
    told = json.loads((tmp_path / "out" / "samples.json").read_text())
    assert [sample["codes"] for sample in told.pop("samples")] == expected
    assert (record["codes"], record["calls"], record["num"]) == (CODES, max(expected), len(expected))
    assert told == record
    assert len(contents(tmp_path / "out", "0*.png")) == len(expected)
    assert (tmp_path / "out" / "preview.png").is_file()


def test_stopped_samples_are_those_of_a_smaller_budget(tiny_run: Run, tmp_path):
    drawn: list[int] = []
    stop = {"stopped": lambda: len(drawn) >= 3, "on_drawn": lambda samples, codes: drawn.append(codes)}
    write_samples(tiny_run, tmp_path / "stopped", range(4), 1.0, SamplingOptions(seed=1), **stop)
    write_samples(tiny_run, tmp_path / "short", range(4), "3codes", SamplingOptions(seed=1))
    assert contents(tmp_path / "stopped", "*.png") == contents(tmp_path / "short", "*.png")


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Send this process a number of signals, as Ctrl-C does, after the third code."""

    def after_third_code(times: int, number: int = signal.SIGINT) -> None:
        codes = []

        @contextlib.contextmanager
        def bar(activity: str) -> Iterator[Callable[[int, int], None]]:
            def advance(done: int, total: int) -> None:
                codes.append(done)
                if len(codes) == 3:
                    for _ in range(times):
                        os.kill(os.getpid(), number)

            yield advance

        monkeypatch.setattr(progress, "bar", bar)

    return after_third_code


SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])


@SIGNALS
def test_an_interrupt_while_sampling_writes_what_is_there_and_says_so(anytime, here, interrupt, number):
    interrupt(1, number)
    before = signal.getsignal(number)
    result = anytime("sample", "--num", 4, "--out", "out")
    assert (result.status, result.out) == (0, "")
    assert re.search("interrupted.*4 samples", result.err)
    record = json.loads((here / "out" / "samples.json").read_text())
    assert record["interrupted"] is True
    assert [sample["codes"] for sample in record["samples"]] == [3] * 4
    assert len(contents(here / "out", "0*.png")) == 4
    assert signal.getsignal(number) is before


def test_an_interrupted_call_prints_json_too(anytime, here, interrupt):
    interrupt(1)
    printed = json_of(anytime("sample", "--num", 4, "--out", "out", "--json"))
    assert printed["interrupted"] is True
    assert printed == json.loads((here / "out" / "samples.json").read_text())


@SIGNALS
def test_a_second_interrupt_ends_the_command_and_leaves_nothing(anytime, here, interrupt, number):
    interrupt(2, number)
    before = listing(here)
    result = anytime("sample", "--num", 4, "--out", "out")
    assert (result.status, result.out) == (130, "")
    assert listing(here) == before
    assert "interrupted" in result.err
    assert len(result.err.splitlines()) == 1


def test_an_interrupt_with_a_deadline_ends_the_call_early(anytime, here, interrupt):
    interrupt(1)
    printed = json_of(anytime("sample", "--num", 4, "--budget", "1000s", "--out", "out", "--json"))
    assert (printed["num"], printed["calls"], printed["interrupted"]) == (4, 3, True)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES], ids=["disk full", "no permission"])
@pytest.mark.parametrize(
    "call", ["sample --out out", "sample --out deep/down/out", "sample", "reconstruct photo.png --out out"]
)
@pytest.mark.parametrize("exists", [False, True], ids=["new folder", "old folder"])
def test_a_write_that_fails_leaves_everything_as_it_was(anytime, here, monkeypatch, number, call, exists):
    Image.radial_gradient("L").save(here / "photo.png")
    if exists:
        for folder in ("out", "deep/down/out", "runs/tiny/samples/1-seed0"):
            (here / folder).mkdir(parents=True)
            (here / folder / "notes.txt").write_bytes(b"old")
    written: list[Path] = []

    def fail(self: ImageModality, x: torch.Tensor, path: Path) -> None:
        written.append(path)
        path.write_bytes(b"new")
        if len(written) == 3 or "reconstruct" in call:
            raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("anytime_core.jobs.contents.WritesInMemory", type(None))
    monkeypatch.setattr(ImageModality, "write", fail)
    before = listing(here)
    result = anytime(*shlex.split(call))
    assert written
    assert result.status == 1
    error = error_of(result)
    assert len(error) == 1
    assert os.strerror(number) in error[0]
    assert listing(here) == before


@pytest.mark.parametrize("command", ["sample", "reconstruct photo.png"])
def test_a_write_that_fails_is_told_with_the_folder_that_was_asked_for(anytime, here, monkeypatch, command):
    Image.radial_gradient("L").save(here / "photo.png")

    def fail(self: ImageModality, x: torch.Tensor, path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("anytime_core.jobs.contents.WritesInMemory", type(None))
    monkeypatch.setattr(ImageModality, "write", fail)
    error = error_of(anytime(*shlex.split(command), "--out", "pictures"))[0]
    assert "pictures" in error
    assert ".partial-" not in error


def test_help_of_training_lists_what_the_named_modality_may_be_told(anytime):
    for arguments in (("--modality", "audio"), ("--modality=audio",)):
        shown = " ".join(anytime("train", *arguments, "--help").out.split())
        assert "What --set may change for modality audio:" in shown
        assert "Values are its own defaults. A recipe may have others" in shown
        assert "data.rate=8000 audio samples a second" in shown
        assert "network.hop=64" in shown
        assert "network.stride=4" in shown  # of another kind of network
    assert "anytime train --modality audio --help" in " ".join(anytime("train", "--help").out.split())
    wrong = anytime("train", "--modality", "adio", "--help")
    assert wrong.status == 2
    assert "did you mean 'audio'" in wrong.err


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        ("--set prior.kind=gru", ["those of image/digits", "prior.width=208 ", "prior.label_dropout=0.1 "]),
        ("--config image/mnist --set prior.kind=gru", ["those of image/mnist", "prior.width=416 "]),
        ("--set prior.kind=gru --set=prior.width=7 --quick", ["those of image/digits-quick", "prior.width=7 "]),
        ("--set prior.kind=gru --autoencoder runs/tiny", ["those of runs/tiny", "prior.label_dropout=0.0 "]),
        ("--set prior.kind=gru --config none", ["its own defaults. A recipe", "prior.width=640 "]),
        (
            "--set prior.kind=gru --set prior.width=x",
            ["its own defaults. A recipe", "prior.width=640 "],
        ),
    ],
)
def test_help_of_training_has_the_values_of_a_prior_that_would_be_used(anytime, here, arguments, values):
    shown = " ".join(anytime("train", *arguments.split(), "--help").out.split())
    assert [value for value in values if value not in shown] == []


@pytest.mark.parametrize(
    ("text", "level", "told"),
    [
        ("overflow encountered in square", logging.DEBUG, "overflow encountered in square"),
        ("Glyph 29483 missing from font(s)\nDejaVu Sans.", logging.DEBUG, "Glyph 29483 missing from font(s)"),
        ("CUDA initialization: too old a driver\nupdate it", logging.WARNING, "CUDA initialization: too old a driver"),
    ],
)
def test_what_libraries_warn_programmers_of_stays_among_them(anytime, monkeypatch, caplog, text, level, told):
    def warn(root: Path) -> list[Path]:
        warnings.warn(text, RuntimeWarning, stacklevel=1)
        return []

    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("anytime_core.record.list_runs", warn)
    assert anytime("runs", "list").err == "no runs in runs: train one with anytime train\n"
    assert caplog.record_tuples == [("py.warnings", level, told)]
    with pytest.warns(RuntimeWarning, match=told.partition(" ")[0]):
        anytime("runs", "list", "--debug")
