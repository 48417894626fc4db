"""The Python API: what it takes beside tensors, what it refuses and how, what it shows, and its examples."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_config
from torch import Tensor

import anytime_core
from anytime_core.arguments import checked_samples
from anytime_core.errors import DataError, UsageError
from anytime_core.jobs.sampling import write_samples
from anytime_core.run import Run, load
from anytime_core.sampling.options import SamplingOptions
from anytime_core.training.train import train_stages

CODES, CODEBOOK = 8, 16
ONE = np.zeros((1, 8, 8), dtype=np.float32)


@pytest.fixture(scope="module")
def digits(tiny_run: Run) -> Tensor:
    return tiny_run.modality.datasets().validation.batch(range(3))["x"]


@pytest.fixture(scope="module")
def pictures(tiny_run: Run, digits: Tensor, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The digits as files."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{number}.png" for number in range(len(digits))]
    for x, path in zip(digits, paths, strict=True):
        tiny_run.modality.write(x, path)
    return paths


# What is taken


@pytest.mark.parametrize(
    "form",
    [
        lambda x: x.numpy(),
        lambda x: x.numpy()[:, :, ::-1][:, :, ::-1],
        lambda x: x.numpy().astype(">f4"),
        lambda x: x.double(),
        lambda x: x.tolist(),
        list,
        lambda x: x.clone().requires_grad_(),
    ],
)
def test_samples_may_be_arrays_and_lists(tiny_run, digits, form):
    assert torch.equal(tiny_run.encode(form(digits)), tiny_run.encode(digits))
    assert torch.equal(tiny_run.reconstruct(form(digits), 3), tiny_run.reconstruct(digits, "3codes"))


def test_one_sample_is_a_batch_of_one(tiny_run, digits):
    codes = tiny_run.encode(digits[0])
    assert torch.equal(codes, tiny_run.encode(digits[:1]))
    assert torch.equal(tiny_run.decode(codes[0].tolist()), tiny_run.decode(codes))


def test_samples_may_be_files(tiny_run, digits, pictures):
    codes = tiny_run.encode(pictures)
    assert codes.shape == (3, CODES)
    assert torch.equal(tiny_run.encode(str(pictures[1])), codes[1:2])
    assert (tiny_run.reconstruct(pictures) - tiny_run.reconstruct(digits)).abs().mean() < 0.1


def test_codes_lengths_and_labels_may_be_arrays_and_lists(tiny_run, digits):
    codes = tiny_run.encode(digits)
    wanted = tiny_run.decode(codes, torch.tensor([1, 4, 8]))
    for lengths in ([1, 4, 8], np.array([1, 4, 8], dtype=np.uint8)):
        assert torch.equal(tiny_run.decode(codes.numpy().astype(np.uint16), lengths), wanted)
    assert torch.equal(tiny_run.decode(codes, np.int64(4)), tiny_run.decode(codes, 4))
    known = np.ones((3, 2), dtype=bool)
    completed = tiny_run.complete(codes[:, :2].numpy(), known, label=["7", 3, "index:1"])
    assert completed.labels.tolist() == [7, 3, 1]
    assert torch.equal(completed.codes[:, :2], codes[:, :2])


def test_numbers_may_be_numpys(tiny_run):
    settings = {"temperature": np.float32(0.5), "top_k": np.int64(3), "top_p": np.float64(0.9), "guidance": np.int8(1)}
    plain = {"temperature": 0.5, "top_k": 3, "top_p": 0.9}
    samples = tiny_run.sample(np.int32(4), np.int16(3), seed=np.uint8(5), label=np.int64(7), **settings)
    assert torch.equal(samples.codes, tiny_run.sample(4, "3codes", seed=5, label=7, **plain).codes)


def test_a_stream_takes_one_budget_too(tiny_run):
    for budgets in ("50%", 4, [0.5], np.array([0.5])):
        assert [prefix.codes.shape[1] for prefix in tiny_run.stream(2, budgets)] == [4]


# What is refused


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            (ONE[None] * 127).astype(np.uint8),
            r"samples are of type uint8, not float32 in \[-1, 1\]: give x / 127.5 - 1",
        ),
        (ONE.astype(np.int16), "of type int16.*x / 32768"),
        (ONE.astype(int), "of type int64, not float32"),
        (ONE > 0, "of type bool"),
        (ONE + 255, r"reach from 255 to 255, not from -1 to 1: give x / 127.5 - 1"),
        (ONE - 3, "reach from -3 to -3, not from -1 to 1: scale them"),
        (ONE + np.nan, "samples hold NaN"),
        (ONE - np.inf, "samples hold infinite values"),
        (ONE[0], r"of shape \[8, 8\], not \[B, 1, 8, 8\]: add the axis of one channel, x\[None\]"),
        (np.zeros((5, 8, 8)), r"of shape \[5, 8, 8\], not.*x\[:, None\]"),
        (np.zeros((5, 8, 8, 1)), r"channels come first, np.moveaxis\(x, -1, 1\)"),
        (np.zeros((8, 8, 1)), r"channels come first, np.moveaxis\(x, -1, 0\)"),
        (np.zeros((2, 1, 28, 28)), r"shape \[2, 1, 28, 28\], not \[B, 1, 8, 8\], nor \[1, 8, 8\] for a single one"),
        (np.zeros((0, 1, 8, 8)), r"shape \[0, 1, 8, 8\], not"),
        (np.zeros((5, 8, 8), np.uint8), r"x\[:, None\]; and of type uint8, .* x / 127.5 - 1"),
        (0.5, r"shape \[\], not"),
        ([], r"shape \[0\], not"),
        ([[1.0], [1.0, 2.0]], r"samples \[\[1.0\], \[1.0, 2.0\]\] are not \[B, 1, 8, 8\] numbers"),
        (None, "samples None are not"),
        ({"x": ONE}, "samples of type dict are not"),
    ],
)
def test_samples_that_are_none_are_refused_with_what_is_wanted(tiny_run, x, message):
    for call in (tiny_run.encode, tiny_run.reconstruct):
        with pytest.raises(UsageError, match=message) as refused:
            call(x)
        assert "\n" not in str(refused.value)


def test_files_that_hold_no_sample_are_refused_by_name(tiny_run, pictures, tmp_path):
    with pytest.raises(DataError, match=r"missing\.png does not exist"):
        tiny_run.encode([pictures[0], "missing.png"])
    with pytest.raises(UsageError, match="names no file"):
        tiny_run.encode("")
    long = SimpleNamespace(sample_shape=lambda: (1, 4), open_file=lambda path: [torch.zeros(1, 4)] * 3)
    with pytest.raises(UsageError, match=r"0\.png holds 3 samples.*anytime reconstruct"):
        checked_samples(pictures[0], long)


@pytest.mark.parametrize(
    ("codes", "length", "message"),
    [
        ([[0.5] * CODES], None, "codes are of type float64, not .* whole numbers: convert them to int64"),
        ([[True] * CODES], None, "codes are of type bool"),
        ([[0] * 9], None, "9 codes are more than the 8 there are"),
        ([[CODEBOOK]], None, r"code 16 is not in 0\.\.15"),
        ([[0, -1]], None, r"code -1 is not in 0\.\.15"),
        (np.zeros((1, 0), int), None, r"codes of shape \[1, 0\] are not \[B, n\] with 1 <= n <= 8"),
        ([[[0]]], None, r"codes of shape \[1, 1, 1\]"),
        (3, None, r"codes of shape \[\]"),
        ("codes", None, "codes 'codes' are not"),
        ([[0] * CODES], 0, r"length 0 is not a whole number in 1\.\.8"),
        ([[0] * CODES], 9, r"length 9 is not a whole number in 1\.\.8"),
        ([[0] * 3], 4, r"length 4 is not a whole number in 1\.\.3"),
        ([[0] * CODES], 0.5, "length 0.5 is not a whole number .* that share of 8 codes is 4"),
        ([[0] * CODES], True, "length True is not"),
        ([[0] * CODES], "4codes", "length '4codes' is not"),
        ([[0] * CODES], [4, 4], r"lengths of shape \[2\] are not one for each of 1 samples"),
        ([[0] * CODES], [0], "length 0 is not"),
        ([[0] * CODES], [4.0], "lengths are of type float64"),
    ],
)
def test_codes_and_lengths_that_are_none_are_refused_with_what_is_wanted(tiny_run, codes, length, message):
    with pytest.raises(UsageError, match=message) as refused:
        tiny_run.decode(codes, length)
    assert "\n" not in str(refused.value)


def test_continuous_codes_have_no_numbers(tiny_run, monkeypatch):
    monkeypatch.setattr(type(tiny_run.autoencoder), "codebook_size", None)
    for call in (lambda: tiny_run.encode(ONE), lambda: tiny_run.decode([[0]])):
        with pytest.raises(UsageError, match=r"codes are continuous.*run\.reconstruct"):
            call()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num": 2.5}, "number of samples 2.5 is not a whole number in 1"),
        ({"num": "4"}, "number of samples '4'"),
        ({"labels": ["3", "5"]}, "do not say how many samples of each class"),
        ({"labels": {}}, "do not say how many samples of each class"),
        ({"num": True}, "number of samples True"),
        ({"budget": 1}, "budget 1 can mean all codes or one of them: write 1.0 or '1codes'"),
        ({"budget": 9}, "budget 9codes is more than the 8 codes there are: write at most 8codes or 100%"),
        ({"budget": True}, "budget True is not understood: .* such as 8codes"),
        ({"budget": [0.5]}, r"budget \[0.5\]"),
        ({"temperature": "hot"}, "temperature 'hot' is not 0 or a positive number"),
        ({"temperature": None}, "temperature None"),
        ({"temperature": True}, "temperature True"),
        ({"temperature": 10**400}, "temperature of type int"),
        ({"guidance": [1.0]}, r"guidance \[1.0\]"),
        ({"top_k": 2.5}, "top-k 2.5"),
        ({"top_p": "0.9"}, "top-p '0.9'"),
        ({"seed": "1"}, "seed '1'"),
        ({"calls": 2.5}, "calls 2.5"),
        ({"label": 2.5}, "label 2.5 is not a whole number"),
        ({"label": True}, "label True"),
        ({"label": [1, 2]}, r"label \[1, 2\]"),
        ({"label": 10}, r"label 10 is not .* in 0\.\.9, or the name of a class: the classes are 0, 1"),
    ],
    ids=str,
)
def test_arguments_of_other_types_are_named(tiny_run, arguments, message):
    with pytest.raises(UsageError, match=message):
        tiny_run.sample(**arguments)


@pytest.mark.parametrize("indices", [5, "12", [0.5], [-1], range(-1, 3), None])
def test_indices_that_are_none_are_refused(tiny_run, indices):
    with pytest.raises(UsageError, match=r"^ind(ex|ices) .*whole number"):
        tiny_run.sample_batches(indices)


# What is shown and written


def test_a_run_and_its_samples_are_shown_in_a_line_each(tiny_run, tiny_folder, agnostic_run):
    assert repr(tiny_run) == f"Run({tiny_folder}, image, 8 codes of 16, 10 classes, transformer prior, cpu)"
    assert "ardm prior" in repr(agnostic_run)
    assert repr(tiny_run.sample(1, "1codes")) == "Samples(1 of shape [1, 8, 8], 1 code each, 1 class)"
    adaptive = dataclasses.replace(tiny_run.sample(3), lengths=torch.tensor([5, 8, 3]), labels=None)
    assert repr(adaptive) == "Samples(3 of shape [1, 8, 8], 3 to 8 codes)"
    assert repr(next(iter(tiny_run.stream(3)))) == "Prefix(3, 1 code each, 3 classes)"
    assert tiny_run.classes == tuple(map(str, range(10)))


def test_an_array_of_samples_is_what_they_are(tiny_run):
    samples = tiny_run.sample(3)
    assert np.array_equal(samples.numpy(), samples.x.numpy())
    assert len(samples) == 3


def record_of(folder: Path) -> dict[str, Any]:
    record = json.loads((folder / "samples.json").read_text())
    return {key: value for key, value in record.items() if key not in ("seconds", "run")}


@pytest.mark.parametrize("form", [{}, {"pack": True}, {"progressive": True}, {"suffix": "jpg"}], ids=str)
def test_saved_samples_are_the_files_that_the_command_writes(tiny_run, tmp_path, form):
    options = SamplingOptions(seed=3, label="7")
    write_samples(tiny_run, tmp_path / "command", range(6), "5codes", options, **form)
    samples = tiny_run.sample(6, 5, seed=3, label="7")
    assert samples.save(tmp_path / "saved", **form) == tmp_path / "saved"
    assert record_of(tmp_path / "saved") == record_of(tmp_path / "command")
    for path in (tmp_path / "command").iterdir():
        if path.name != "samples.json":
            assert (tmp_path / "saved" / path.name).read_bytes() == path.read_bytes()
    assert not list(tmp_path.glob(".partial-*"))


def test_saving_replaces_what_an_earlier_call_saved_only_when_told_to(tiny_run, tmp_path):
    first, second = tiny_run.sample(3), tiny_run.sample(2, "4codes")
    first.save(str(tmp_path / "out"))
    with pytest.raises(UsageError, match="of an earlier job"):
        second.save(tmp_path / "out")
    second.save(tmp_path / "out", overwrite=True)
    assert record_of(tmp_path / "out")["num"] == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "holiday.png").write_bytes(b"dear to me")
    with pytest.raises(UsageError, match="holds 1 file"):
        first.save(tmp_path / "mine", overwrite=True)


def test_saving_goes_on_where_it_was_killed(tiny_run, tmp_path, monkeypatch):
    samples = tiny_run.sample(64, "1codes")
    with monkeypatch.context() as patch:
        patch.setattr("anytime_core.jobs.sampling._Call._finish", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            samples.save(tmp_path / "out")
    assert list(tmp_path.glob(".partial-*"))
    samples.save(tmp_path / "out")
    assert record_of(tmp_path / "out")["num"] == 64
    assert len(list((tmp_path / "out").glob("0*.png"))) == 64


def test_samples_of_a_deadline_and_completed_ones_are_saved_as_they_are(tiny_run, agnostic_run, tmp_path):
    hurried = tiny_run.sample(4, "0.01ms")
    hurried.save(tmp_path / "hurried")
    record = record_of(tmp_path / "hurried")
    assert (record["budget"], record["num"], record["drawn"]) == ("0.01ms", 4, hurried.codes.shape[1])
    assert "deadline" not in record
    known = torch.zeros(2, CODES, dtype=torch.bool)
    agnostic_run.complete(torch.zeros(2, CODES, dtype=torch.int64), known, label=1).save(tmp_path / "completed")
    assert record_of(tmp_path / "completed")["completed"] is True


# Examples


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of the sizes of the default recipe, hardly trained."""
    folder = tmp_path_factory.mktemp("documented")
    short = ("training.autoencoder.steps=2", "training.prior.steps=2")
    sizes = ("network.channels=16", "autoencoder.quantizer.size=64")
    train_stages(tiny_config(*sizes, *short), folder / "runs" / "image-digits-1")
    return folder


@pytest.mark.parametrize(
    "name", ["", ".run", ".sampling.samples", ".budget", ".digest", ".spelling", ".training.start"]
)
def test_the_examples_in_docstrings_are_true(documented, monkeypatch, name):
    monkeypatch.chdir(documented)
    run = load("runs/image-digits-1", device="cpu")
    known = {name: getattr(anytime_core, name) for name in anytime_core.__all__}
    known |= {"np": np, "torch": torch, "run": run, "samples": run.sample(16)}
    finder, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner()
    said: list[str] = []
    for test in finder.find(importlib.import_module(f"anytime_core{name}"), extraglobs=known):
        runner.run(test, out=said.append)
    assert runner.summarize(verbose=False).attempted > 0
    assert not said, "".join(said)


def test_streams_and_completions_take_options_by_name_too(tiny_run):
    (prefix,) = tiny_run.stream(3, "5codes", seed=4, temperature=0.5)
    samples = tiny_run.sample(3, "5codes", seed=4, temperature=0.5)
    assert torch.equal(prefix.codes, samples.codes)
    known = torch.ones(3, 5, dtype=torch.bool)
    whole = tiny_run.complete(samples.codes, known, label=samples.labels, options=SamplingOptions(seed=1), seed=4)
    assert torch.equal(whole.codes[:, :5], samples.codes)
    assert torch.equal(whole.codes, tiny_run.complete(samples.codes, known, label=samples.labels, seed=4).codes)
    with pytest.raises(UsageError, match="are not SamplingOptions"):
        tiny_run.stream(1, None, {"seed": 1})
    with pytest.raises(UsageError, match=r"no option 'sed' \(did you mean 'seed'\?\)"):
        tiny_run.stream(1, sed=3)


def test_public_names_are_listed_before_they_are_imported():
    assert set(anytime_core.__all__) <= set(dir(anytime_core))
