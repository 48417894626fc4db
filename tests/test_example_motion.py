"""The plugin in examples/anytime_motion, as its users have it: found, generating motion, trained, sampled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import TINY
from torch import Tensor

from anytime_core.discovery.plugins import list_plugins, load_modality
from anytime_core.discovery.recipes import default_recipe
from anytime_core.errors import DataError
from anytime_core.modality import Datasets, Modality, PreviewRow
from anytime_core.testing import check_modality

EXAMPLE = Path(__file__).parents[1] / "examples" / "anytime_motion"
SMALL: dict[str, Any] = {"train": 96, "validation": 24}
STAGE = {"steps": 5, "batch_size": 16, "validations": 1, "validation_samples": 24}
QUICK: dict[str, Any] = {
    **TINY,
    "modality": "motion",
    "data": SMALL,
    "network": {"channels": 4, "widths": [8, 8], "depth": 0},
    "training": {"device": "cpu", "precision": "float32", "autoencoder": STAGE, "prior": STAGE},
}
"""A config that trains in a second."""
TOLERANCE = {".npy": 1e-6, ".csv": 2e-4}


@pytest.fixture(scope="module", autouse=True)
def _installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The example as `pip install` would leave it: its package on the import path, its entry point declared."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    site = tmp_path_factory.mktemp("site")
    info = site / "anytime_motion-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    ((group, points),) = project["entry-points"].items()
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *(f"{k} = {v}" for k, v in points.items())]))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLE)
        patch.syspath_prepend(site)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(EXAMPLE), os.environ.get("PYTHONPATH", "")]))
        yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "anytime_motion"]:
        del sys.modules[name]


def make(**data: object) -> Modality:
    modality = load_modality("motion")
    return modality(modality.Config.model_validate({"data": {**SMALL, **data}}))


@pytest.fixture(scope="module")
def motion() -> Modality:
    return make()


@pytest.fixture(scope="module")
def datasets(motion: Modality) -> Datasets:
    return motion.datasets()


def performed(datasets: Datasets, gait: str) -> Tensor:
    """All training samples of a gait, in degrees and metres: [n, 12, S]."""
    from anytime_motion.skeleton import to_units

    batch = datasets.train.batch(range(len(datasets.train)))  # type: ignore[attr-defined]
    return to_units(batch["x"][batch["label"] == datasets.classes.index(gait)])


def channel(values: Tensor, name: str) -> Tensor:
    from anytime_motion.skeleton import CHANNELS

    return values[:, CHANNELS.index(name)]


def likeness(a: Tensor, b: Tensor) -> Tensor:
    """Correlation over time of each row."""
    return torch.cosine_similarity(a - a.mean(-1, keepdim=True), b - b.mean(-1, keepdim=True), dim=-1)


# Found


def test_the_plugin_is_found_with_its_distribution_and_its_recipe():
    (plugin,) = [plugin for plugin in list_plugins() if plugin.name == "motion"]
    assert (plugin.distribution.replace("_", "-"), plugin.version) == ("anytime-motion", "0.1.0")
    assert load_modality("motion").__module__ == "anytime_motion.modality"
    assert default_recipe("motion").name == "motion/walk"


def test_the_plugin_keeps_the_contract():
    failed = [result for result in check_modality(load_modality("motion"), {"data": SMALL}) if not result.good]
    assert not failed


# Data


def test_motion_has_the_stated_form(motion, datasets):
    assert motion.sample_shape() == (12, 64)
    for part, number in ((datasets.train, 96), (datasets.validation, 24)):
        batch = part.batch(range(len(part)))
        assert batch["x"].shape == (number, 12, 64)
        assert batch["x"].dtype == torch.float32
        assert batch["x"].abs().max() <= 1
        assert batch["label"].bincount().tolist() == [number // 6] * 6


def test_motion_follows_from_the_seed(datasets):
    same, other = make().datasets().train, make(seed=1).datasets().train
    assert torch.equal(same[7]["x"], datasets.train[7]["x"])
    assert not torch.equal(other[7]["x"], datasets.train[7]["x"])


def test_validation_stays_the_same_whatever_the_number_of_training_samples(datasets):
    more = make(train=120).datasets()
    assert torch.equal(more.validation[23]["x"], datasets.validation[23]["x"])
    assert torch.equal(more.train[95]["x"], datasets.train[95]["x"])


@pytest.mark.parametrize("gait", ["walk", "run", "march"])
def test_left_and_right_take_turns(datasets, gait):
    values = performed(datasets, gait)
    assert (likeness(channel(values, "left_hip"), channel(values, "right_hip")) < -0.3).all()
    assert (likeness(channel(values, "left_shoulder"), channel(values, "left_hip")) < -0.3).all()


@pytest.mark.parametrize("gait", ["hop", "squat"])
def test_left_and_right_move_together(datasets, gait):
    values = performed(datasets, gait)
    for joint in ("hip", "knee", "shoulder"):
        assert (likeness(channel(values, f"left_{joint}"), channel(values, f"right_{joint}")) > 0.9).all()


def test_who_waves_stands_still_and_has_one_arm_up(datasets):
    values = performed(datasets, "wave")
    left, right = (channel(values, f"{side}_shoulder").mean(-1) > 90 for side in ("left", "right"))
    assert (left ^ right).all()
    assert left.any()
    assert right.any()
    assert channel(values, "height").std(-1).max() < 0.02


@pytest.mark.parametrize(("gait", "flies"), [("walk", False), ("squat", False), ("run", True), ("hop", True)])
def test_feet_stay_on_the_ground_but_in_flight(datasets, gait, flies):
    from anytime_motion.skeleton import pose

    lowest = pose(performed(datasets, gait)).joints()[:, :, 1].amin(1)  # [n, S]
    assert lowest.min() > -1e-3
    assert lowest.amin(1).max() < 0.01
    assert (lowest.amax(1) > 0.005).all() == flies


def test_mirrored_motion_is_motion_of_the_other_side(motion, datasets):
    x = datasets.train.batch(range(32))["x"]
    seen = motion.augment(x, torch.Generator().manual_seed(0))
    swapped = x[:, [5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 10, 11]]
    mirrored = (seen == swapped).flatten(1).all(1)
    assert 4 < mirrored.sum() < 28
    assert torch.equal(seen[~mirrored], x[~mirrored])
    assert make(mirror=False).augment(x, torch.Generator()) is x


# Files and pictures


@pytest.mark.parametrize("suffix", TOLERANCE)
def test_files_give_back_what_was_written(motion, datasets, tmp_path, suffix):
    for index in range(12):
        x = datasets.train[index]["x"]
        motion.write(x, tmp_path / f"x{suffix}")
        assert torch.allclose(motion.read(tmp_path / f"x{suffix}"), x, rtol=0, atol=TOLERANCE[suffix])


@pytest.mark.parametrize("suffix", TOLERANCE)
def test_of_longer_files_the_beginning_is_read_and_shorter_ones_are_refused(datasets, tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    x = datasets.train[0]["x"]
    make().write(x, path)
    assert torch.allclose(make(steps=32).read(path), x[:, :32], rtol=0, atol=TOLERANCE[suffix])
    with pytest.raises(DataError, match=rf"x{suffix} is too short: it has 64 time steps, data.steps=128"):
        make(steps=128).read(path)


NO_NPY = ["pickle", "archive", "words", "columns", "nan", "cut", "empty", "missing"]
NO_CSV = ["header", "binary", "ragged", "letters", "folder"]


def damaged(folder: Path, kind: str) -> Path:
    """A file that is no motion."""
    table = np.zeros((64, 12), dtype=np.float32)
    npy, csv = folder / "bad.npy", folder / "bad.csv"
    match kind:
        case "pickle":
            np.save(npy, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        case "archive":
            with npy.open("wb") as file:
                np.savez(file, table)
        case "words":
            np.save(npy, np.full((64, 12), "a"))
        case "columns":
            np.save(npy, table[:, 1:])
        case "nan":
            np.save(npy, table * np.nan)
        case "cut":
            np.save(npy, table)
            npy.write_bytes(npy.read_bytes()[:-100])
        case "empty":
            npy.touch()
        case "header":
            csv.write_text("a,b\n1,2\n")
        case "binary":
            csv.write_bytes(bytes(range(256)))
        case "ragged" | "letters":
            make().write(torch.zeros(12, 64), csv)
            csv.write_text(csv.read_text().replace("\n", ",1\n" if kind == "ragged" else "x\n").replace("x\n", "\n", 1))
        case "folder":
            csv.mkdir()
    return npy if kind in NO_NPY else csv


@pytest.mark.parametrize("kind", [*NO_NPY, *NO_CSV])
def test_what_is_no_motion_is_named(motion, tmp_path, kind):
    path = damaged(tmp_path, kind)
    with pytest.raises(DataError, match=path.name) as refused:
        motion.read(path)
    assert "\n" not in str(refused.value)


def test_files_of_other_formats_are_not_written(motion, tmp_path):
    with pytest.raises(DataError, match=r"x\.bvh: use \.npy or \.csv"):
        motion.write(torch.zeros(12, 64), tmp_path / "x.bvh")


def test_previews_are_as_high_as_their_rows(motion, datasets, tmp_path):
    from PIL import Image

    x = datasets.train.batch(range(9))["x"]
    sizes = []
    for rows in ([PreviewRow("", x[:3])], [PreviewRow("original", x), PreviewRow("4 codes", x[:2])]):
        motion.preview(rows, tmp_path / "preview.png")
        with Image.open(tmp_path / "preview.png") as image:
            sizes.append(image.size)
    (width, height), (wider, higher) = sizes
    assert wider == pytest.approx(width * 8 / 3, abs=3)
    assert higher == pytest.approx(2 * height, abs=3)


# Measures


def test_statistics_do_not_depend_on_where_in_its_cycle_a_movement_begins(motion):
    from anytime_core.modality import WeightsSource

    features = motion.extractors()["kinematics"].load(WeightsSource()).features
    time = torch.arange(64) / 64 * 2 * torch.pi
    early, late, faster = (
        0.5 * (rate * time + phase).sin().expand(1, 12, 64) for rate, phase in ((4, 0), (4, 2), (8, 0))
    )
    assert features(early).shape == (1, 112)
    assert (features(early) - features(late)).norm() < 0.2 * (features(early) - features(faster)).norm()


def test_metrics_are_in_their_units(motion):
    metrics = motion.metrics()
    x = torch.zeros(1, 12, 64)
    raised, swinging = x.clone(), x.clone()
    raised[:, 11] += 0.1  # of a range of 0.9 metres: 4.5 cm
    swinging[:, 2, ::2] += 0.1  # of a range of 110 degrees: 5.5 degrees to and fro, 30 times a second
    assert metrics["joint_distance"](raised, x).item() == pytest.approx(4.5, rel=1e-3)
    assert metrics["joint_speed"](swinging, x).item() == pytest.approx(5.5 * 30 / 11, rel=1e-3)


# Trained


def test_a_tiny_config_trains_samples_and_reconstructs(anytime, tmp_path):
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(QUICK))
    trained = anytime("train", "--config", "tiny.yaml", "--run", "run", "--json")
    assert trained.status == 0, trained.err
    sampled = anytime(
        "sample", "--run", "run", "--num", 6, "--budget", 0.5, "--format", "csv", "--out", "out", "--json"
    )
    assert sampled.status == 0, sampled.err
    samples = json.loads(sampled.out)["samples"]
    assert [sample["label"] for sample in samples] == ["walk", "run", "march", "hop", "squat", "wave"]
    assert {sample["codes"] for sample in samples} == {2}
    assert make().read(tmp_path / "out" / samples[0]["file"]).shape == (12, 64)
    again = anytime("reconstruct", tmp_path / "out" / samples[0]["file"], "--run", "run", "--out", "again")
    assert again.status == 0, again.err
    assert (tmp_path / "again" / "preview.png").stat().st_size


@pytest.mark.slow
def test_the_installed_wheel_is_trained_and_sampled_from_the_command_line(tmp_path):
    site, environment = tmp_path / "site", {**os.environ, "PYTHONPATH": str(tmp_path / "site")}

    def run(*command: object) -> str:
        done = subprocess.run(
            [*map(str, command)], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, EXAMPLE)
    (wheel,) = tmp_path.glob("*.whl")
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel)
    command = Path(sys.executable).parent / "anytime"
    plugins = json.loads(run(command, "plugins", "list", "--check", "--json"))
    assert {"motion": "ok", "image": "ok"}.items() <= {plugin["name"]: plugin["state"] for plugin in plugins}.items()
    few = [
        f"--set=training.{stage}.{key}={n}"
        for stage in ("autoencoder", "prior")
        for key, n in (("steps", 60), ("validations", 1))
    ]
    run(command, "train", "--modality", "motion", "--run", "run", "--device", "cpu", "--set=data.train=600", *few)
    printed = json.loads(run(command, "sample", "--run", "run", "--budget", "0.6", "--label", "hop", "--json"))
    assert {sample["label"] for sample in printed["samples"]} == {"hop"}
    first = tmp_path / "run" / "samples"
    assert len(list(first.rglob("*.npy"))) == len(printed["samples"]) == 16
