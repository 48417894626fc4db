"""Shared fixtures: a tiny trained run, the command line called in this process, and where real data may lie."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from recorded import graph_device, recorded_graphs  # noqa: F401  # fixtures

from anytime_cli.main import main
from anytime_core.config import Config
from anytime_core.config_parsing import apply_overrides, parse_config
from anytime_core.discovery.baselines import find_baseline
from anytime_core.results import AutoencoderValidation
from anytime_core.run import Run, load
from anytime_core.training.train import train_stages
from anytime_image.config import ImageConfig

TINY: dict[str, Any] = {
    "modality": "image",
    "data": {"name": "digits"},
    "network": {"channels": 8, "widths": [16]},
    "autoencoder": {"quantizer": {"size": 16}},
    "prior": {"layers": 2, "width": 32, "heads": 2},
    "training": {
        "device": "cpu",
        "precision": "float32",
        "autoencoder": {"steps": 40, "batch_size": 32, "validations": 2, "validation_samples": 64},
        "prior": {"steps": 20, "batch_size": 32, "validations": 2},
    },
}
"""A config that trains in about a second."""

AGNOSTIC = ("prior.kind=ardm", "prior.layers=2", "prior.width=32", "prior.heads=2")

HEAVY = frozenset(
    {"accelerate", "librosa", "matplotlib", "numba", "scipy", "sklearn", "tensorboard", "torchmetrics", "torchvision"}
    | {"sympy", "triton", "transformers"}
)
"""Packages that would each make people wait for new samples, some of them for seconds."""


def tiny_config(*overrides: str, baseline: str | None = None) -> Config:
    config = parse_config(TINY, ImageConfig)
    changes = () if baseline is None else find_baseline(baseline).overrides(config.core.autoencoder.quantizer)
    return parse_config(apply_overrides(apply_overrides(TINY, changes), overrides), ImageConfig)


def assert_every_prefix_helps(validation: AutoencoderValidation) -> None:
    """Each number of codes is better than the mean sample, and more of them are no worse than fewer, within noise."""
    losses = validation.reconstruction["loss"]
    assert max(losses) < validation.mean_sample["loss"]
    assert all(after < 1.03 * before for before, after in itertools.pairwise(losses)), losses


HAS_GPU = torch.cuda.is_available()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `gpu` need one."""
    if item.get_closest_marker("gpu") and not HAS_GPU:
        pytest.skip("no CUDA device")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """All other tests, with their fixtures and processes, see no GPU: they say the same on every machine."""
    with pytest.MonkeyPatch.context() as patch:
        if not item.get_closest_marker("gpu"):
            patch.setattr(torch.cuda, "is_available", lambda: False)
            patch.setattr(torch.cuda, "device_count", lambda: 0)
            patch.setenv("CUDA_VISIBLE_DEVICES", "")
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Tiny tensors gain nothing from threads, and parallel test runs would fight over cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _silent_progress():
    """What commands say must not depend on how fast the machine is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("anytime_cli.progress.Lines.remind", lambda lines: None)
        yield


@pytest.fixture(autouse=True)
def _gradients_stay_on():
    """A test that leaves them off would fail others, far away."""
    yield
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run trained on the embedded digits; tests must not change it."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    train_stages(tiny_config(), folder, recipe="image/tiny")
    return folder


@pytest.fixture(scope="session")
def tiny_run(tiny_folder: Path) -> Run:
    return load(tiny_folder, device="cpu")


@pytest.fixture(scope="session")
def agnostic_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny run with an order-agnostic prior; tests must not change it."""
    folder = tmp_path_factory.mktemp("runs") / "agnostic"
    shutil.copytree(tiny_folder, folder)
    train_stages(tiny_config(*AGNOSTIC), folder, stages=["prior"], force=True)
    return folder


@pytest.fixture(scope="session")
def agnostic_run(agnostic_folder: Path) -> Run:
    return load(agnostic_folder, device="cpu")


@dataclass(frozen=True)
class Result:
    """What a command did."""

    status: int
    out: str
    err: str


@pytest.fixture
def anytime(monkeypatch, capsys, tmp_path):
    """Run the command line in an empty working folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["anytime", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        captured = capsys.readouterr()
        return Result(int(exit_.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder that holds real data sets: ANYTIME_DATA, or `shared/data` beside the checkout."""
    candidates = [Path(os.environ.get("ANYTIME_DATA", "")), Path(__file__).parents[2] / "shared" / "data"]
    for root in candidates:
        if root.name and all((root / name).is_dir() for name in ("mnist", "fsdd")):
            return root
    pytest.skip("no real data: set ANYTIME_DATA to a folder that holds mnist/ and fsdd/")
