"""Samples as one file of arrays, and so many of each class."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Result

from anytime_core.errors import UsageError
from anytime_core.jobs import output
from anytime_core.jobs.arrays import ArrayOutput, ArrayRow
from anytime_core.jobs.sampling import write_samples
from anytime_core.run import Run, load
from anytime_core.sampling.labels import counted_label
from anytime_core.sampling.options import SamplingOptions
from anytime_core.sampling.samples import Sample

Anytime = Callable[..., Result]


@pytest.fixture(scope="module")
def run(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return load(shutil.copytree(tiny_folder, tmp_path_factory.mktemp("run") / "tiny"), device="cpu")


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def write(run: Run, folder: Path, indices: range, budget: str = "1.0", **options: Any) -> dict[str, Any]:
    sampling = SamplingOptions(engine="eager", batch_size=4)
    return write_samples(run, folder, indices, budget, sampling, suffix="npz", **options)


# One file of arrays


@pytest.mark.parametrize("budget", ["1.0", "3codes", "adaptive"])
def test_arrays_hold_what_sampling_in_python_gives(run, tmp_path, budget):
    record = write(run, tmp_path, range(10), budget)
    found, expected = arrays(tmp_path / "samples.npz"), run.sample(10, budget, engine="eager")
    assert found.keys() == {"samples", "indices", "lengths", "codes", "labels", "classes"}
    np.testing.assert_allclose(found["samples"], expected.x.numpy(), atol=1e-6)
    assert found["codes"][:, : expected.codes.shape[1]].tolist() == expected.codes.tolist()
    assert not found["codes"][:, expected.codes.shape[1] :].any()
    assert found["lengths"].tolist() == expected.lengths.tolist()
    assert found["labels"].tolist() == expected.labels.tolist()
    assert found["classes"].tolist() == list(run.record.classes)
    assert found["indices"].tolist() == list(range(10))
    assert record["files"].keys() == {"samples.npz", "preview.png"}
    entries = json.loads((tmp_path / "samples.json").read_text())["samples"]
    assert [entry["file"] for entry in entries] == [f"samples.npz/{row}" for row in range(10)]
    decoded = run.decode(torch.from_numpy(found["codes"].astype(np.int64)), torch.from_numpy(found["lengths"]))
    np.testing.assert_allclose(decoded.numpy(), found["samples"], atol=1e-6)


def test_arrays_of_parts_share_a_folder_and_together_are_those_of_the_whole_job(run, tmp_path):
    write(run, tmp_path / "whole", range(11))
    whole = arrays(tmp_path / "whole" / "samples.npz")
    for part in range(2):
        write(run, tmp_path / "parts", range(part, 11, 2))
        found = arrays(tmp_path / "parts" / f"samples-{part}of2.npz")
        assert all(np.array_equal(found[name], whole[name][part::2]) for name in whole.keys() - {"classes"})
    told = json.loads((tmp_path / "parts" / "samples.json").read_text())
    assert [entry["index"] for entry in told["samples"]] == list(range(11))


def test_arrays_are_the_same_bytes_in_every_call_and_growth_ends_with_the_sample(run, tmp_path):
    for folder in ("first", "second"):
        write(run, tmp_path / folder, range(6), progressive=True)
    first, second = (tmp_path / folder / "samples.npz" for folder in ("first", "second"))
    assert first.read_bytes() == second.read_bytes()
    found = arrays(first)
    assert found["growth"].shape == (6, 5, *run.modality.sample_shape())
    assert (np.diff(found["growth_lengths"], axis=1) >= 0).all()
    np.testing.assert_allclose(found["growth"][:, -1], found["samples"], atol=1e-6)


def test_a_job_that_is_stopped_before_its_end_has_arrays_of_what_is_there(run, tmp_path):
    done = iter([False] * 12)
    record = write(run, tmp_path, range(20), stopped=lambda: next(done, True))
    assert record["interrupted"]
    assert {len(values) for name, values in arrays(tmp_path / "samples.npz").items() if name != "classes"} == {
        record["num"]
    }


def test_arrays_without_classes_have_no_labels_and_codes_as_wide_as_the_codebook_asks_for(tmp_path):
    writer = ArrayOutput(tmp_path, (2,), code_length=3, codebook_size=2**20, classes=(), progressive=False)
    writer.add(ArrayRow(Sample(7, None, 2, torch.ones(2), torch.tensor([2**20 - 1, 5])), {}))
    writer.finish()
    found = arrays(tmp_path / "samples.npz")
    assert found.keys() == {"samples", "indices", "lengths", "codes"}
    assert (found["codes"].dtype, found["codes"].tolist()) == (np.uint32, [[2**20 - 1, 5, 0]])


def test_a_modality_that_writes_npz_itself_still_does(run, monkeypatch):
    monkeypatch.setattr(type(run.modality), "suffixes", (".png", ".npz"))
    assert output.output_suffix(run.modality, "npz") == ".npz"


# So many of each class


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat=10", ("cat", 10)),
        ("cat", ("cat", None)),
        ("a=b", ("a=b", None)),
        ("a=b=3", ("a=b", 3)),
        ("index:3=5", ("index:3", 5)),
        ("a=1", ("a=1", None)),
    ],
)
def test_a_label_is_a_name_first_and_then_one_with_a_count(text, expected):
    assert counted_label(text, ("cat", "a=b", "a=1", "a")) == expected


@pytest.mark.parametrize("text", ["cat=0", "cat=-1", "cat=", "cat=1.5", "cat=\u0663", f"cat={10**20}"])
def test_a_count_that_is_no_whole_number_is_named_with_the_way_out(text):
    with pytest.raises(UsageError, match=r"no number of samples of class 'cat'.*cat=10"):
        counted_label(text, ("cat",))


def test_samples_of_counted_classes_come_one_class_after_the_other(run, anytime, tmp_path, monkeypatch):
    samples = run.sample(labels={"3": 2, 7: 3, "index:0": 1})
    assert samples.labels.tolist() == [3, 3, 7, 7, 7, 0]
    assert torch.equal(samples.codes[2:5], run.sample(5, label=7).codes[2:]), "their noise is that of their index"
    monkeypatch.chdir(tmp_path)
    labels = ("--label", "3=2", "--label", "index:7=3", "--label", "0=1", "--run", run.folder)
    for part in range(2):
        result = anytime("sample", *labels, "--shard", f"{part}/2", "--out", "out")
        assert result.status == 0, result.err
    told = json.loads((tmp_path / "out" / "samples.json").read_text())["samples"]
    assert [entry["label"] for entry in told] == ["3", "3", "7", "7", "7", "0"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": {"3": 2, 3: 1}}, "class '3' is counted twice"),
        ({"labels": {"3": 0}}, "label '3': count 0 is not"),
        ({"labels": {"3": 2}, "num": 2}, "leave one of them out"),
        ({"labels": {"3": 2}, "label": "3"}, "leave one of them out"),
        ({"labels": {"thirty": 2}}, "no class 'thirty'"),
    ],
)
def test_counts_that_contradict_are_refused(run, arguments, message):
    with pytest.raises(UsageError, match=message):
        run.sample(**arguments)


def test_a_sample_beyond_the_counts_has_no_label(run):
    with pytest.raises(UsageError, match="sample 5 has no label, as labels count 5 samples"):
        list(run.sample_batches(range(4, 6), options=SamplingOptions(labels=(("3", 5),))))
