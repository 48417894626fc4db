"""The installed command on a machine with a GPU, without options: it trains, samples and evaluates there."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = [pytest.mark.gpu, pytest.mark.slow]

QUICK = ("--set", "training.autoencoder.steps=40", "--set", "training.prior.steps=40")


def call(folder: Path, *arguments: str, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = shutil.which("anytime", path=str(Path(sys.executable).parent)) or "anytime"
    arguments = (*launcher, command, *arguments)
    done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpu")
    call(folder, "train", "--run", "runs/image", *QUICK)
    return folder


def test_training_without_a_device_uses_the_gpu_and_can_be_sampled_and_evaluated(here):
    told = json.loads(call(here, "sample", "--num", "8", "--out", "samples", "--json").stdout)
    assert len(told["samples"]) == 8
    evaluated = json.loads(call(here, "evaluate", "--num", "200", "--budgets", "0.5,1", "--json").stdout)
    assert [row["codes"] for row in evaluated["rows"]] == [told["code_length"] // 2, told["code_length"]]


def test_auto_draws_the_codes_of_the_plain_engine_in_float32(here):
    from anytime_core.run import load

    run = load(here / "runs" / "image", device="cuda")
    assert torch.equal(run.sample(16).codes, run.sample(16, engine="plain").codes)
    first, second = run.stream(4), run.stream(4)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.codes, other.codes)
    assert torch.equal(one.codes, run.sample(4).codes)


def test_one_process_of_torchrun_ends_without_a_word_of_its_group(here):
    launcher = (str(Path(sys.executable).parent / "torchrun"), "--nproc-per-node", "1", "--no-python")
    done = call(here, "train", "--run", "runs/launched", *QUICK, launcher=launcher)
    assert "destroy_process_group" not in done.stderr
