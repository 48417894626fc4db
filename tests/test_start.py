"""Training from Python: what it takes, what it gives back, and how its refusals name arguments."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import TINY, tiny_config

import anytime_core
from anytime_core.discovery.recipes import find_recipe
from anytime_core.discovery.resolve import resolve
from anytime_core.errors import AnytimeError, ConfigError, UsageError
from anytime_core.record import read_record
from anytime_core.training.log import Progress
from anytime_core.training.outline import Outline
from anytime_core.training.start import outline

SHORT = {"training.autoencoder.steps": 2, "training.prior.steps": 2}


def test_a_recipe_a_file_values_and_a_config_are_sources(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(TINY))
    for source, recipe, name in (
        (str(path), "mine", "mine"),
        (path, "mine", "mine"),
        (TINY, None, "image"),
        (tiny_config(), None, "image"),
    ):
        subject = resolve(source)
        assert (subject.config, subject.recipe, subject.name) == (tiny_config(), recipe, name)
    assert resolve("image/digits") == resolve() == resolve(modality="image") == resolve(find_recipe("digits").path.stem)
    assert resolve("digits", quick=True, baseline="unordered").name == "image/digits-quick-unordered"
    assert [resolve("digits", quick=quick).has_quick for quick in (False, True)] == [True, False]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ({"data.root": Path("my pics #2"), "seed": 3}, ["data.root=my pics #2", "seed=3"]),
        ({"data.root": "null"}, ["data.root='null'"]),
        ({"autoencoder.quantizer.kind": "fsq"}, "autoencoder.quantizer.kind=fsq"),
        (
            {"autoencoder.quantizer": {"kind": "fsq", "levels": (4, 4)}},
            ["autoencoder.quantizer={kind: fsq, levels: [4, 4]}"],
        ),
        ({"network.widths": [8]}, [("network.widths", [8])]),
        ({"training.deterministic": True}, ["training.deterministic=true"]),
    ],
    ids=str,
)
def test_overrides_are_values_by_key_or_texts_as_they_are_typed(values: dict[str, Any], texts: Any):
    assert resolve(TINY, overrides=values).config == resolve(TINY, overrides=texts).config != tiny_config()


def test_a_run_is_trained_stage_by_stage_until_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told: list[Outline | Progress] = []
    begun = anytime_core.train(
        TINY, overrides=SHORT, stage="autoencoder", on_ready=told.append, on_progress=told.append
    )
    assert (begun.folder, begun.prior, begun.record.recipe) == (Path("runs/image-1"), None, None)
    assert isinstance(told[0], Outline)
    assert (told[0].name, told[0].run, told[0].steps) == ("image", begun.folder, {"autoencoder": 2})
    assert {told.stage for told in told[1:]} == {"autoencoder"}
    planned = outline(run="runs/image-1")
    assert (planned.steps, read_record(begun.folder)) == ({"codes": planned.steps["codes"], "prior": 2}, begun.record)
    whole = anytime_core.train(run="runs/image-1", resume="auto")
    assert whole.sample(2).x.shape == (2, 1, 8, 8)
    assert whole.record.stages["prior"].steps == 2
    before = {path: path.stat().st_mtime_ns for path in whole.folder.rglob("*")}
    assert anytime_core.train(TINY, run="runs/image-1", resume="auto").record == whole.record
    assert outline(run="runs/image-1", resume="auto").steps == {}
    assert outline(TINY, run="runs/image-1", resume="auto", overrides=SHORT).steps == {}
    for other, message in (
        ({"prior.kind": "gru"}, r"finished with prior\.kind=transformer, not gru: .* stage='prior' and force=True"),
        ({"autoencoder.quantizer.size": 99}, r"quantizer\.size=.*, not 99: .* stage='autoencoder' and force=True"),
        ({"network.channels": 4}, r"network\.channels=.*, not 4: "),
        ({"training.prior.steps": 30}, r"prior\.steps=2, not 30: give it more steps with .* --stage prior --set tra"),
    ):
        for call in (anytime_core.train, outline):
            with pytest.raises(UsageError, match=message):
                call(run="runs/image-1", resume="auto", overrides=other)
    assert {path: path.stat().st_mtime_ns for path in whole.folder.rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"config": 3}, "config 3 is not a recipe's name, a YAML file, a mapping of values or a Config"),
        ({"config": "image/mnits"}, "did you mean 'image/mnist'"),
        (
            {"config": TINY, "quick": True},
            "the config has no quick variant: .* overrides={'training.autoencoder.steps': 300",
        ),
        ({"config": TINY | {"quick": {"netwrok": 1}}}, "below quick: in the config: unknown key 'netwrok'"),
        ({"config": TINY, "baseline": "unorderd"}, "did you mean 'unordered'"),
        ({"overrides": {"netwrok.widths": [8]}}, "did you mean 'network"),
        ({"overrides": ["seed"]}, "override 'seed' is not of the form key.subkey=value"),
        ({"overrides": {"seed.a..b": 1}}, "override {'seed.a..b': 1} is not of the form key.subkey=value"),
        ({"overrides": [3]}, "override 3 is neither a dotted key with its value nor 'key=value'"),
        (
            {"modality": "audio", "overrides": {"modality": "image"}},
            "modality='audio' and override modality=image say two",
        ),
        ({"run": 5}, "run 5 is not the path of a folder"),
        ({"baseline": 5}, "baseline 5 is not a name"),
        ({"overrides": 5}, "overrides 5 are not changes of the config"),
        ({"overrides": "seed=3"}, "overrides 'seed=3' are not changes of the config"),
        ({"force": "false"}, "force 'false' is not True or False"),
        ({"quick": 1}, "quick 1 is not True or False"),
        ({"stage": "priro"}, "no stage 'priro' .did you mean 'prior'"),
        ({"stage": "prior"}, "stage='prior' goes on with a run: name it with run=DIR"),
        ({"resume": "auto"}, "resume='auto' starts a run or goes on with it: name it with run=DIR"),
        ({"resume": "runs/x"}, "resume='runs/x' is not True, False or 'auto': name the run with run=DIR"),
        ({"resume": True}, "no run in runs"),
        ({"run": "{tiny}"}, "is finished: choose another run, .* with stage and force"),
        ({"run": "{tiny}", "stage": "prior"}, "stage prior .* is finished: .* with force=True"),
        (
            {"run": "{tiny}", "stage": "prior", "baseline": "pca"},
            "was not started with baseline='pca': choose another run",
        ),
        ({"run": "{tiny}", "stage": "prior", "quick": True}, "was not started with quick=True: choose another run"),
        ({"config": TINY, "run": "."}, "is not empty and not a run: choose another run"),
    ],
    ids=str,
)
def test_refusals_name_arguments_of_python(tiny_folder, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").touch()
    arguments = {name: str(tiny_folder) if value == "{tiny}" else value for name, value in arguments.items()}
    with pytest.raises(AnytimeError, match=message) as refused:
        anytime_core.train(arguments.pop("config", None), **arguments)
    assert not re.search(r"\s--", re.sub(r"anytime train [^,;]*", "", str(refused.value)))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_all_mistakes_of_a_config_are_told_at_once():
    with pytest.raises(ConfigError, match=r"(?s)seed: .*unknown key 'netwrok'"):
        anytime_core.train(overrides={"seed": -1, "netwrok": {}})
