"""Runs of earlier formats open, and are what they were: `old_runs/` holds one of each kind, made when it was current.

`expected.json` is what that version made of them: samples decoded from one code and from all, log probabilities, and
the reconstruction of a run with continuous codes.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from anytime_core.record import FORMAT_VERSION, read_record
from anytime_core.run import Run, load

OLD = Path(__file__).parent / "old_runs"
RUNS = [folder for format in sorted(OLD.iterdir()) for folder in sorted(format.iterdir()) if folder.is_dir()]
WITH_PRIOR = [folder for folder in RUNS if (folder / "prior.safetensors").exists()]


def some_codes(run: Run) -> torch.Tensor:
    return torch.arange(2 * run.code_length).view(2, -1) * 7 % run.autoencoder.spec.size


def name(folder: Path) -> str:
    return f"{folder.parent.name}-{folder.name}"


@pytest.fixture(params=RUNS, ids=name)
def old(request: pytest.FixtureRequest) -> tuple[Run, dict[str, list[float]]]:
    expected = json.loads((request.param.parent / "expected.json").read_text())
    return load(request.param, device="cpu"), expected[request.param.name]


def test_there_is_one_of_every_format_before_this_one():
    assert {read_record(folder).format_version for folder in RUNS} == set(range(1, FORMAT_VERSION))


def test_an_old_run_means_what_it_meant(old):
    run, expected = old
    found = {}
    if run.autoencoder.spec.size is None:
        x = torch.linspace(-1, 1, 64).view(1, 1, 8, 8)
        found["reconstructed"] = run.reconstruct(x, 0.5).flatten()[::9]
    else:
        found["decoded"] = run.decode(some_codes(run), [1, run.code_length]).flatten(1)[:, ::9].flatten()
    if run.prior is not None:
        codes, orders = some_codes(run)[:, : run.prior.code_length], torch.Generator().manual_seed(0)
        found["log_prob"] = run.prior.log_prob(codes, torch.tensor([1, 2]), orders).flatten()
    assert found.keys() == expected.keys()
    for what, values in found.items():
        torch.testing.assert_close(values, torch.tensor(expected[what]), atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("folder", WITH_PRIOR, ids=name)
def test_the_codes_of_an_old_prior_are_those_of_its_autoencoder(folder):
    run = load(folder, device="cpu")
    assert run.prior is not None
    assert run.prior.spec == run.autoencoder.spec.narrowed(run.prior.code_length, len(run.classes))


@pytest.mark.parametrize("folder", WITH_PRIOR, ids=name)
def test_an_old_run_is_shown_and_sampled(folder, anytime, tmp_path):
    run = shutil.copytree(folder, tmp_path / "run")
    assert anytime("runs", "show", run).status == 0
    assert anytime("sample", "--run", run, "--num", 2, "--budget", "50%", "--out", tmp_path / "out").status == 0
    assert len(list((tmp_path / "out").glob("*.png"))) == 3
