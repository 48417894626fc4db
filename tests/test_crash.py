"""A hundred kills at random moments: after each, everything opens, and in the end nothing shows that they happened."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import TINY
from safetensors import safe_open

from anytime_audio.config import AudioConfig
from anytime_audio.modality import AudioModality
from anytime_core.budget import Budget
from anytime_core.config_parsing import apply_overrides, parse_config
from anytime_core.jobs.sampling import write_samples
from anytime_core.record import RUN_FILE, STAGES, read_record
from anytime_core.run import load
from anytime_core.training.train import train_stages
from anytime_image.config import ImageConfig

pytestmark = pytest.mark.slow

KILLS = {"training": 70, "sampling": 20, "caching": 20}
PRELOADED = [
    "anytime_audio.datasets",
    "anytime_core.run",
    "anytime_core.jobs.sampling",
    "anytime_core.training.train",
    "anytime_image.datasets",
    "torch.utils.tensorboard",
]
LONGEST = 600.0
"""Seconds after which a process that was not killed must have ended, on a machine that has other things to do."""


# What is killed. Each is called again until it ends; it must not start from nothing every time.


def training(folder: Path) -> None:
    changes = (
        "training.checkpoint_minutes=0",
        "training.autoencoder.steps=40",
        "training.codes.batch_size=100",
        "training.codes.copies=2",
        "training.prior.steps=40",
        "data.flip=true",
    )
    config = parse_config(apply_overrides(TINY, changes), ImageConfig)
    done = read_record(folder / "run").stages if (folder / "run" / RUN_FILE).exists() else {}
    todo = [stage for stage in STAGES if stage not in done]
    if todo:
        train_stages(config, folder / "run", stages=todo, resume=True)


def sampling(folder: Path) -> None:
    run = load(folder / "run", device="cpu")
    write_samples(run, folder / "samples", range(600), Budget(0.6))


def caching(folder: Path) -> None:
    data = {"name": "folder", "root": folder.parent / "sounds", "rate": 8000, "length": 512, "cache": folder / "cache"}
    datasets = AudioModality(AudioConfig.model_validate({"data": data})).datasets()
    clips = np.stack([datasets.train[index]["x"].numpy() for index in range(len(datasets.train))])
    np.save(folder / "clips.npy", clips)


WORK: dict[str, Callable[[Path], None]] = {"training": training, "sampling": sampling, "caching": caching}


def work(kind: str, folder: Path) -> None:
    torch.set_num_threads(1)  # tests beside this one have work for the other cores
    WORK[kind](folder)


def prepare(kind: str, folder: Path) -> None:
    """What the work needs, in a new folder."""
    folder.mkdir()
    sounds = folder.parent / "sounds"
    if kind == "caching" and not sounds.exists():  # a cache is of files at their places
        noise = np.random.default_rng(0)
        sounds.mkdir()
        for index in range(200):
            soundfile.write(sounds / f"{index:03}.wav", noise.uniform(-0.5, 0.5, 4000), 8000)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file there is, with its bytes unless it tells a time."""
    told = {"metrics.jsonl", RUN_FILE, "samples.json", "costs.json"}
    paths = [path for path in folder.rglob("*") if path.is_file() and "tensorboard" not in path.parts]
    return {
        str(path.relative_to(folder)): b"" if path.name in told or "checkpoints" in path.parts else path.read_bytes()
        for path in paths
    }


def assert_sound(folder: Path) -> None:
    """What has its final name is whole."""
    if (folder / "run" / RUN_FILE).exists():
        record = read_record(folder / "run")
        if "prior" in record.stages:
            load(folder / "run", device="cpu")
    for path in folder.rglob("*.safetensors"):
        if not path.name.startswith(".partial"):
            with safe_open(path, framework="pt") as file:
                assert list(file.keys()) is not None


@pytest.fixture(scope="module")
def server():
    """Starts processes that have everything imported, so that kills hit the work."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    warm = context.Process(target=str)  # so that no duration has the imports in it
    warm.start()
    warm.join()
    return context


@pytest.fixture(scope="module")
def tiny_run(server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    prepare("training", folder)
    run_to_the_end(server, "training", folder)
    return folder / "run"


def run_to_the_end(server, kind: str, folder: Path) -> float:
    process = server.Process(target=work, args=(kind, folder))
    started = time.monotonic()
    process.start()
    process.join(LONGEST)
    assert process.exitcode == 0, f"{kind} ended with {process.exitcode}"
    return time.monotonic() - started


@pytest.mark.parametrize("kind", list(WORK))
def test_kills_at_random_moments_leave_no_trace(server, tiny_run, tmp_path, kind):
    def prepared(name: str) -> Path:
        prepare(kind, tmp_path / name)
        if kind == "sampling":
            shutil.copytree(tiny_run, tmp_path / name / "run")
        return tmp_path / name

    expected_folder = prepared("expected")
    duration = run_to_the_end(server, kind, expected_folder)
    expected = contents(expected_folder)
    chance, kills, attempt = random.Random(0), 0, 0
    while kills < KILLS[kind]:
        attempt += 1
        folder = prepared(f"killed-{attempt}")
        finished = False
        while not finished:
            process = server.Process(target=work, args=(kind, folder))
            process.start()
            process.join(chance.uniform(0, 0.35 * duration) if kills < KILLS[kind] else LONGEST)
            if process.is_alive():
                process.kill()
                process.join()
            assert process.exitcode in (0, -signal.SIGKILL), f"{kind} ended with {process.exitcode}"
            finished = process.exitcode == 0
            kills += not finished
            assert_sound(folder)
        found = contents(folder)
        assert found.keys() == expected.keys()
        assert found == expected
        shutil.rmtree(folder)
