"""The contract of modality plugins: our own plugins keep it, and each check finds the fault that it is there for."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import assert_every_prefix_helps
from pydantic import Field
from torch import nn

from anytime_audio.modality import AudioModality
from anytime_core.config import Section
from anytime_core.discovery.templates import write_plugin
from anytime_core.errors import UsageError
from anytime_core.modality import Datasets, OfferedExtractor
from anytime_core.record import read_record
from anytime_core.testing import CheckSkipped, ModalityContract, check_modality, iter_checks
from anytime_core.testing.checks import Capability, Checks
from anytime_core.testing.modality import CHECKS, value_networks
from anytime_core.testing.modality.subject import check
from anytime_image.modality import ImageModality


class TestImages(ModalityContract):
    modality = ImageModality


class TestSounds(ModalityContract):
    modality = AudioModality


# A small modality that keeps the contract, and faults that each break one demand of it


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Any:
    """The modality that `anytime plugins new` writes, imported from where it was written."""
    folder = tmp_path_factory.mktemp("plugin") / "waves"
    write_plugin("waves", folder)
    sys.path.insert(0, str(folder))
    import anytime_waves.modality  # type: ignore[import-not-found]

    yield anytime_waves.modality.WavesModality
    sys.path.remove(str(folder))


CONFIG = {"data": {"samples": 100}}


@pytest.mark.parametrize("channels", [1, 2])
def test_what_the_template_makes_keeps_the_contract(good, monkeypatch, channels):
    monkeypatch.setenv("PYTHONPATH", sys.path[0])
    results = check_modality(good, {"data": {**CONFIG["data"], "channels": channels}})
    assert [result.name for result in results if not result.good] == []
    assert len(results) == len(CHECKS) > 20


def outcome(modality: Any, name: str) -> str:
    """What a check says against a modality, empty where it passes or is not for it."""
    (check,) = [check for check in iter_checks(modality, CONFIG) if check.name == name]
    try:
        check.run()
    except CheckSkipped:
        return ""
    except Exception as error:
        return str(error)
    return ""


def changed(good: Any, **changes: Any) -> Any:
    """A subclass with other members, in the same module."""
    return type(good.__name__, (good,), {"__module__": good.__module__, **changes})


def with_data(change: Callable[[Datasets], Datasets]) -> dict[str, Any]:
    def datasets(self: Any) -> Datasets:
        return change(super(type(self), self).datasets())

    return {"datasets": datasets}


class Items:
    """A data set made of another one by a function of the item and its index."""

    def __init__(self, dataset: Any, function: Callable[[dict, int], dict]) -> None:
        self.dataset, self.function = dataset, function

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict:
        return self.function(dict(self.dataset[index]), index)


def train_items(function: Callable[[dict, int], dict]) -> dict[str, Any]:
    return with_data(lambda data: Datasets(Items(data.train, function), data.validation, data.classes))


class BareField(Section):
    data: int = 3


class Required(Section):
    data: int = Field(description="has no default")


class Lax(Section, extra="allow"):
    data: dict = Field({}, description="takes anything")


class Takes(Section):
    prior: int = Field(1, description="has a name of core's")


class Shuffles(nn.Module):
    """Lets rows of a batch see each other."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) + x.mean()


class Noisy(Shuffles):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) + torch.rand(1)


class Hides(Shuffles):
    """Keeps something that is in no state."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        self.hidden = torch.rand(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) + self.hidden


class Unused(Shuffles):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__(inner)
        self.unused = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)


def wrapped(kind: type[nn.Module]) -> dict[str, Any]:
    def encoder(self: Any) -> nn.Module:
        return kind(super(type(self), self).encoder())

    return {"encoder": encoder}


def seeds_globally(self: Any, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    random.random()
    np.random.rand()
    return x


def connects(self: Any, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    import socket

    socket.create_connection(("127.0.0.1", 9))
    return x


def no_picture(self: Any, rows: Any, path: Any) -> None:
    path.write_bytes(b"GIF89a")


def writes_two(self: Any, x: torch.Tensor, path: Any) -> None:
    path.write_bytes(b"x")
    path.with_suffix(".txt").write_text("notes")


def reads_anything(self: Any, path: Any) -> torch.Tensor:
    return torch.zeros(self.sample_shape())


class Opened(list):
    """A user's file that says how many samples it is."""

    def __init__(self, said: int, samples: list[torch.Tensor]) -> None:
        super().__init__(samples)
        self.said = said

    def __len__(self) -> int:
        return self.said

    def write(self, samples: Any, path: Any) -> None:
        path.write_bytes(b"x")


class Flat:
    """An extractor of the values themselves."""

    description = ""

    def __init__(self, source: Any) -> None:
        pass

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)


FAULTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "a name with spaces": ("metadata", {"name": "My Waves"}, "its name is 'My Waves'"),
    "another api": ("metadata", {"api_version": 7}, "api_version is 7"),
    "no suffix": ("metadata", {"suffixes": ()}, "suffixes are empty"),
    "no method": ("metadata", {"preview": None}, "it has no preview"),
    "no description of a field": ("config-fields-are-described", {"Config": BareField}, "data has no description"),
    "no default": ("config-fields-are-described", {"Config": Required}, "data has no default"),
    "a field of core's": ("config-fields-are-described", {"Config": Takes}, "core's own sections"),
    "unknown keys": ("config-survives-json-and-yaml", {"Config": Lax}, "keys that it does not know"),
    "values out of range": (
        "items-are-samples",
        train_items(lambda item, index: {**item, "x": item["x"] * 9}),
        "beyond [-1, 1]",
    ),
    "not finite": (
        "items-are-samples",
        train_items(lambda item, index: {**item, "x": item["x"] * float("nan")}),
        "not finite",
    ),
    "double precision": (
        "items-are-samples",
        train_items(lambda item, index: {**item, "x": item["x"].double()}),
        "not float32",
    ),
    "another shape": ("items-are-samples", train_items(lambda item, index: {**item, "x": item["x"][:, 1:]}), "shape"),
    "no labels": ("items-are-samples", train_items(lambda item, index: {"x": item["x"]}), "has no label"),
    "labels beyond the classes": (
        "items-are-samples",
        train_items(lambda item, index: {**item, "label": 4}),
        "label 4",
    ),
    "random items": (
        "data-are-the-same-each-time",
        train_items(lambda item, index: {**item, "x": item["x"] * torch.rand(1)}),
        "item 0",
    ),
    "validation on training data": (
        "validation-is-held-out",
        with_data(lambda data: Datasets(data.train, data.train, data.classes)),
        "validation samples too",
    ),
    "a data set that cannot be pickled": (
        "workers-can-have-it",
        train_items(lambda item, index: item),
        "cannot be pickled",
    ),
    "augmentation in place": (
        "augmenting-gives-samples",
        {"augment": lambda self, x, generator: x.mul_(0.5)},
        "changes its input",
    ),
    "augmentation by global noise": (
        "augmenting-gives-samples",
        {"augment": lambda self, x, generator: x * torch.rand(1)},
        "another view",
    ),
    "a decoder of one size": (
        "encoder-and-decoder-agree",
        {"decoder": lambda self, channels: nn.Conv1d(16, 1, 1)},
        "",
    ),
    "rows that mix": ("rows-do-not-mix", wrapped(Shuffles), "the encoder differs"),
    "weights that nothing uses": ("gradients-reach-both", wrapped(Unused), "no gradient reaches encoder.unused"),
    "noise in evaluation": ("evaluation-is-deterministic", wrapped(Noisy), "something else the second time"),
    "state that is not saved": ("weights-survive-safetensors", wrapped(Hides), "in no parameter and no buffer"),
    "a loss that grows": (
        "loss-is-lower-for-closer",
        {"reconstruction_loss": lambda self, x_hat, x: -(x_hat - x).square().flatten(1).mean(1)},
        "have losses",
    ),
    "one loss for all": (
        "loss-is-lower-for-closer",
        {"reconstruction_loss": lambda self, x_hat, x: (x_hat - x).square().mean()},
        "has shape ()",
    ),
    "a metric that says nothing": (
        "metrics-are-best-at-identity",
        {"metrics": lambda self: {"ones": lambda x_hat, x: torch.ones(len(x))}},
        "metric ones",
    ),
    "files that lose much": (
        "files-are-read-as-written",
        {"write": lambda self, x, path: super(type(self), self).write(x * 0.5, path)},
        "differs by",
    ),
    "a file beside the file": ("every-suffix-is-written", {"write": writes_two}, "too"),
    "any file is good": ("damaged-files-are-named", {"read": reads_anything}, "read without an error"),
    "no picture": ("previews-are-pictures", {"preview": no_picture}, "no PNG"),
    "global seeds": ("nothing-global-is-touched", {"augment": seeds_globally}, "random, numpy.random"),
    "the network": ("nothing-global-is-touched", {"augment": connects}, "network connection"),
    "a file of fewer samples than it says": (
        "opened-files-are-samples",
        {"open_file": lambda self, path: Opened(2, [torch.zeros(self.sample_shape())])},
        "says 2 samples and gives 1",
    ),
    "other files in memory": (
        "contents-are-those-of-files",
        {"contents": lambda self, x, names: [b"" for _ in names]},
        "not what write() writes",
    ),
    "growth under other names": (
        "growth-is-named-after-the-stem",
        {"write_growth": lambda self, steps, stem: stem.with_name("other.gif").write_bytes(b"GIF")},
        "not named after the stem",
    ),
    "restores something else": (
        "restored-files-are-samples",
        {"restores": "depth", "open_to_restore": lambda self, path: None},
        "restores is 'depth', not size or rate",
    ),
    "features that are maps": ("features-are-rows", {"feature_network": lambda self: nn.Identity()}, "not [B, F]"),
    "views by a setting that is not there": (
        "the-setting-that-needs-views-is-one-of-the-config",
        {"needs_views": lambda self: "data.noise=always"},
        "the config has no noise",
    ),
    "an extractor without a description": (
        "extractors-give-features",
        {"extractors": lambda self: {"flat": OfferedExtractor(Flat, default=True)}},
        "flat has no description",
    ),
}


@pytest.mark.parametrize(("check", "changes", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_each_fault_is_found_by_its_check(good, check, changes, message):
    assert outcome(good, check) == ""
    said = outcome(changed(good, **changes), check)
    assert said
    assert message in said


def test_training_that_leads_nowhere_is_found(good):
    class Fixed(nn.Module):
        """A decoder that learns nothing, but has a gradient."""

        def __init__(self, shape: tuple[int, ...]) -> None:
            super().__init__()
            self.shape, self.weight = shape, nn.Parameter(torch.zeros(()))

        def forward(self, h: torch.Tensor) -> torch.Tensor:
            return (0 * h.mean() + 0 * self.weight).expand(len(h), *self.shape)

    broken = changed(good, decoder=lambda self, channels: Fixed(self.sample_shape()))
    assert "the loss is" in outcome(broken, "training-lowers-the-loss")
    assert "gradient of the" in outcome(broken, "gradients-reach-both")


def test_a_module_that_imports_torch_is_found(good, tmp_path, monkeypatch):
    (tmp_path / "heavy_one.py").write_text("import torch\n")
    (tmp_path / "loud_one.py").write_text("print('hello')\n")
    (tmp_path / "broken_one.py").write_text("1 / 0\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for module, message in (("heavy_one", "imports torch"), ("loud_one", "prints"), ("broken_one", "ZeroDivision")):
        assert message in outcome(changed(good, __module__=module), "importing-is-cheap")


def test_recipes_of_another_modality_or_with_mistakes_are_found(tmp_path, monkeypatch):
    package = types.ModuleType("packaged")
    package.__path__ = [str(tmp_path)]
    monkeypatch.setitem(sys.modules, "packaged", package)
    modality = type("Images", (ImageModality,), {"__module__": "packaged.modality"})
    (tmp_path / "recipes").mkdir()
    recipe = tmp_path / "recipes" / "one.yaml"
    for text, message in (
        ("modality: image\n", "does not begin with"),
        ("# One\nmodality: audio\n", "is of modality 'audio'"),
        ("# One\nmodality: image\nnetwork: {width: 3}\n", "network.width"),
    ):
        recipe.write_text(text)
        assert message in outcome_of(modality, "recipes-are-valid")
    recipe.write_text("# One\nmodality: image\n")
    assert outcome_of(modality, "recipes-are-valid") == ""


def outcome_of(modality: Any, name: str) -> str:
    (result,) = check_modality(modality, only=(name,))
    return result.message


def test_every_check_has_a_fault_that_it_finds():
    tested = {check for check, _, _ in FAULTS.values()}
    elsewhere = {"training-lowers-the-loss", "importing-is-cheap", "recipes-are-valid", "batches-are-items"}
    of_networks = set(check.of(value_networks))  # whose faults are in test_raster.py
    assert tested | elsewhere | of_networks == set(CHECKS)


def test_rows_of_a_batch_in_another_order_are_found():
    class Reversed:
        def __init__(self, dataset: Any) -> None:
            self.dataset = dataset

        def __len__(self) -> int:
            return len(self.dataset)

        def __getitem__(self, index: int) -> dict:
            return self.dataset[index]

        def batch(self, indices: list[int]) -> dict:
            return self.dataset.batch(sorted(indices))

    class Wrong(ImageModality):
        def datasets(self) -> Datasets:
            data = super().datasets()
            return Datasets(Reversed(data.train), data.validation, data.classes)

    assert "is not item" in outcome_of(Wrong, "batches-are-items")
    assert outcome_of(ImageModality, "batches-are-items") == ""


# Running them


def test_the_command_runs_all_checks_and_says_which_fail(anytime, monkeypatch):
    result = anytime("plugins", "check", "image", "--set", "data.size=16")
    assert result.status == 0, result.err
    assert f"modality 'image' passes all {len(CHECKS) - 1} checks that are for it, and skips 1" in result.err
    assert "skipped   opened-files-are-samples: it has no open_file()" in result.err
    monkeypatch.setattr(ImageModality, "description", "")
    result = anytime("plugins", "check", "image", "--json")
    assert result.status == 1
    failed = [one for one in json.loads(result.out) if one["outcome"] == "failed"]
    assert [one["name"] for one in failed] == ["metadata"]
    assert failed[0]["message"] == "its description is empty"
    assert "fails 1 of" in result.err
    assert anytime("plugins", "check", "imago").status == 2
    assert anytime("plugins", "check", "image", "--set", "data.sise=16").status != 0


def test_the_command_writes_a_new_plugin_once(anytime, tmp_path):
    result = anytime("plugins", "new", "heart-beats")
    assert result.status == 0, result.err
    folder = tmp_path / "anytime-heart-beats"
    assert (folder / "anytime_heart_beats" / "modality.py").exists()
    assert 'heart-beats = "anytime_heart_beats.modality:HeartBeatsModality"' in (folder / "pyproject.toml").read_text()
    again = anytime("plugins", "new", "heart-beats")
    assert again.status == 2
    assert "exists" in again.err
    for name in ("Heart Beats", "../evil", "", "9lives", "-x-"):
        assert anytime("plugins", "new", "--", name).status == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["anytime-heart-beats"]


@pytest.mark.slow
def test_a_new_plugin_installs_passes_and_trains_as_it_is(tmp_path):
    """As docs/plugins.md has it, without a package index: built, installed aside, and used by the command line."""
    folder, site = tmp_path / "anytime-waves", tmp_path / "site"
    anytime_command = [sys.executable, "-m", "anytime_cli.main"]
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def call(*arguments: object) -> str:
        done = subprocess.run(
            list(map(str, arguments)), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    call(*anytime_command, "plugins", "new", "waves")
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--target", site]
    call(*pip, folder)
    assert "passed" in call(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", folder / "tests")
    assert "waves" in call(*anytime_command, "plugins", "list", "--check")
    assert "passes all" in call(*anytime_command, "plugins", "check", "waves")
    assert "waves/small" in call(*anytime_command, "recipes", "list")
    call(*anytime_command, "train", "--modality", "waves", "--run", "run")
    assert_every_prefix_helps(read_record(tmp_path / "run").stages["autoencoder"].validation)
    call(*anytime_command, "sample", "--run", "run", "--budget", "0.6", "--out", "out")
    assert (tmp_path / "out" / "preview.png").stat().st_size > 1000


def test_expected_failures_must_fail_and_be_checks(good):
    broken = changed(good, api_version=7)
    results = {
        result.name: result
        for result in check_modality(
            broken,
            CONFIG,
            expected_failures={"metadata": "of another version", "recipes-are-valid": "it has none"},
            only=("metadata", "recipes-are-valid", "items-are-samples"),
        )
    }
    assert results["metadata"].outcome == "expected failure"
    assert results["metadata"].message == "of another version"
    assert results["metadata"].good
    assert results["recipes-are-valid"].outcome == "unexpected pass"
    assert not results["recipes-are-valid"].good
    assert results["items-are-samples"].outcome == "passed"
    with pytest.raises(UsageError, match=r"no check 'metadat' .did you mean 'metadata'"):
        check_modality(good, expected_failures={"metadat": "typo"})


def test_what_a_modality_does_not_offer_is_skipped_and_said(good):
    results = check_modality(good, CONFIG, only=("batches-are-items", "metadata"))
    assert [(result.name, result.outcome, result.message) for result in results] == [
        ("metadata", "passed", ""),
        ("batches-are-items", "skipped", "its data sets have no batch(indices)"),
    ]
    assert all(result.good for result in results)


def test_a_check_cannot_need_what_nobody_knows():
    with pytest.raises(ValueError, match="no capability bathes: there are batches"):
        Checks({"batches": Capability(bool, "")})("bathes")


def test_checks_leave_the_global_generator_alone(good):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    check_modality(good, CONFIG, only=("training-lowers-the-loss", "gradients-reach-both"))
    assert torch.equal(before, torch.get_rng_state())


def test_the_pytest_class_gives_a_test_for_each_check(good, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", sys.path[0])
    (tmp_path / "test_it.py").write_text(
        "from typing import ClassVar\n"
        "from anytime_core.testing import ModalityContract\n"
        "from anytime_waves.modality import WavesModality\n"
        "WavesModality.description = ''\n"
        "WavesModality.augment = lambda self, x, generator: x * 2\n"
        "class TestWaves(ModalityContract):\n"
        "    modality = WavesModality\n"
        "    config: ClassVar = {'data': {'samples': 60}}\n"
        "    expected_failures: ClassVar = {'augmenting-gives-samples': 'doubles'}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "test_contract[metadata]" in done.stdout
    skipped = sum(bool(check.needs) for check in iter_checks(good))
    assert f"1 failed, {len(CHECKS) - skipped - 2} passed, {skipped} skipped, 1 xfailed" in done.stdout


def test_checks_have_names_and_descriptions():
    for one in iter_checks(ImageModality):
        assert one.name in CHECKS
        assert len(one.description) > 20
