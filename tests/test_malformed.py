"""Malformed input: each wrong call of each command ends with its exit status and with what is wrong and the way out."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import typer
import yaml
from conftest import TINY, Result, tiny_config
from PIL import Image
from test_audio_cli import TINY as TINY_AUDIO
from test_run import Damage, edit_metadata, edit_record, remove, truncate, unplugged, without_metadata, write

from anytime_audio.config import AudioConfig
from anytime_cli import main
from anytime_cli.main import app
from anytime_core import entry_points
from anytime_core.config_parsing import apply_overrides, parse_config
from anytime_core.discovery.plugins import GROUPS
from anytime_core.training.train import train_stages

Anytime = Callable[..., Result]


@dataclass(frozen=True)
class Case:
    """A wrong call.

    Attributes:
        arguments: after `anytime`, as a shell takes them.
        status: 1 it failed, 2 wrong usage.
        names: the offending value, as the message has it.
        way_out: what the message says to do, empty where naming the value says it all.
    """

    arguments: str
    status: int
    names: str
    way_out: str = ""


AUTOENCODER, PRIOR = "autoencoder.safetensors", "prior.safetensors"
SHORT = ("steps=1", "validations=1", "batch_size=2", "validation_samples=4")
QUICKLY = {"autoencoder": {"steps": 3, "validations": 1}, "prior": {"steps": 3, "validations": 1}}

YAML_FILES = {
    "list": "- 1\n- 2\n",
    "text": "hello",
    "malformed": "data: [1, 2\nnetwork: {",
    "keys": "1: 2\n",
    "nested": "network: {1: 2}\n",
    "python": "seed: !!python/object/apply:os.getcwd []\n",
    "documents": "seed: 1\n---\nseed: 2\n",
    "repeated": "data:\n  size: 8\n  color: grey\n  size: 16\n",
    "tab": "network:\n\tchannels: 8\n",
    "deep": "a: " + "[" * 1200,
    "itself": "network: &a\n  network: *a\n",
    "date": "seed: 2020-13-45\n",
    "day": "seed: 2020-01-02\n",
    "alias": "seed: *nothing\n",
    "typo": "netwrok: {channels: 8}\n",
    "video": "modality: video\n",
    "number": "modality: 3\n",
    "control": "seed: \x07\n",
    "merge": "<<: 3\n",
    "null": "network: null\n",
    "no-quick": "quick: 3\n",
    "wrong-quick": "quick: {netwrok: {channels: 8}}\n",
    "sections": "network: [1]\ntraining: fast\n",
    "no-priors": "priors: 3\n",
    "wrong-priors": "priors: {ardm: {prior: {bse: 4}}}\n",
    "priors-of-data": "quick: {priors: {ardm: {data: {size: 8}}}}\n",
    "own-prior": "priors: {transformer: {prior: {width: 64}}}\n",
    "unknown-prior": "priors: {adrm: {prior: {width: 64}}}\n",
}

DAMAGES: dict[str, Damage] = {
    "newer": edit_record(lambda data: data.update(format_version=99)),
    "foreign": unplugged,
    "cut-record": truncate("run.json"),
    "list-record": write("run.json", b"[1]"),
    "blank-record": write("run.json", b""),
    "no-version": edit_record(lambda data: data.pop("format_version")),
    "text-version": edit_record(lambda data: data.update(format_version="1")),
    "no-modality": edit_record(lambda data: data.pop("modality")),
    "no-plugin": edit_record(lambda data: data.update(plugin={})),
    "wrong-type": edit_record(lambda data: data.update(code_length="many")),
    "wrong-stage": edit_record(lambda data: data["stages"].update(polish={"steps": 1, "seconds": 1})),
    "fewer-classes": edit_record(lambda data: data.update(classes=["a"])),
    "other-length": edit_record(lambda data: data.update(code_length=9)),
    "other-modality": edit_record(lambda data: data.update(modality="audio")),
    "without-prior": edit_record(lambda data: data["stages"].pop("prior")),
    "half-trained": edit_record(lambda data: data.update(stages={})),
    "other-size": edit_metadata(AUTOENCODER, lambda data: {**data, "modality_config": {"network": {"channels": 3}}}),
    "unknown-quantizer": edit_metadata(
        AUTOENCODER, lambda data: {**data, "autoencoder": {**data["autoencoder"], "quantizer": {"kind": "rvq"}}}
    ),
    "other-kind": edit_metadata(PRIOR, lambda data: {**data, "prior": {**data["prior"], "kind": "ardm"}}),
    "unknown-kind": edit_metadata(PRIOR, lambda data: {**data, "prior": {**data["prior"], "kind": "diffusion"}}),
    "no-config": remove("config.yaml"),
    "bad-config": write("config.yaml", b"data: [1, 2\nx: {"),
    "typo-config": write("config.yaml", b"netwrok: {channels: 8}\n"),
    **{
        f"{what}-{name}": damage
        for name, file in (("encoder", AUTOENCODER), ("prior", PRIOR))
        for what, damage in (
            ("no", remove(file)),
            ("blank", write(file, b"")),
            ("cut", truncate(file)),
            ("garbage", write(file, b"\x80\x04garbage" * 99)),
            ("foreign", without_metadata(file)),
            ("newer", edit_metadata(file, lambda data: {**data, "format_version": 99})),
        )
    },
}
"""Copies of the tiny run, each with a damage."""


@pytest.fixture(scope="module")
def workshop(tiny_folder: Path, agnostic_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with good runs, bad runs, and files of many kinds; no command may change it."""
    folder = tmp_path_factory.mktemp("workshop")
    shutil.copytree(tiny_folder, folder / "runs" / "tiny")
    shutil.copytree(agnostic_folder, folder / "agnostic")
    for name, damage in DAMAGES.items():
        damage(shutil.copytree(tiny_folder, folder / name))
    _make_files(folder)
    _train_others(folder, tiny_folder)
    swapped = shutil.copytree(tiny_folder, folder / "swapped")
    shutil.copy(tiny_folder / PRIOR, swapped / AUTOENCODER)
    shutil.copy(tiny_folder / AUTOENCODER, swapped / PRIOR)
    for name, file in (("audio-encoder", AUTOENCODER), ("audio-prior", PRIOR), ("audio-config", "config.yaml")):
        shutil.copy(folder / "audio" / file, shutil.copytree(tiny_folder, folder / name))
    for name, file in (("folder-record", "run.json"), ("folder-encoder", AUTOENCODER), ("folder-prior", PRIOR)):
        (shutil.copytree(tiny_folder, folder / name) / file).unlink()
        (folder / name / file).mkdir()
    return folder


def _train_others(folder: Path, tiny_folder: Path) -> None:
    """Runs of another modality, without classes, without codes, and one whose data is gone."""
    short = [f"training.{stage}.{setting}" for stage in ("autoencoder", "prior") for setting in SHORT]
    sounds = ["data.name=folder", f"data.root={folder / 'sounds'}", f"data.cache={folder / 'clips'}"]
    train_stages(parse_config(apply_overrides(TINY_AUDIO, [*sounds, *short]), AudioConfig), folder / "audio")
    without_data = shutil.copytree(folder / "audio", folder / "without-data")
    edit_metadata(AUTOENCODER, _lose_data)(without_data)
    train_stages(tiny_config("autoencoder.quantizer.kind=none", *short), folder / "continuous", stages=["autoencoder"])
    unconditional = shutil.copytree(tiny_folder, folder / "unconditional")
    train_stages(tiny_config("prior.class_conditional=false", *short), unconditional, stages=["prior"], force=True)


def _lose_data(metadata: dict) -> dict:
    metadata["modality_config"]["data"]["root"] = "nowhere"
    return metadata


def _make_files(folder: Path) -> None:
    training = {**TINY["training"], **QUICKLY}
    (folder / "quick.yaml").write_text(yaml.safe_dump({**TINY, "training": training}))
    (folder / "sound.yaml").write_text(yaml.safe_dump({**TINY_AUDIO, "training": training}))
    for name, text in YAML_FILES.items():
        (folder / f"{name}.yaml").write_text(text)
    (folder / "binary.yaml").write_bytes(b"\x80\x00\x01")
    for name in ("pipe", "pipe.yaml", "pipe.png", "pipe.wav"):
        os.mkfifo(folder / name)
    for name in ("folder.yaml", "folder.png", "folder.wav", "empty", "not-a-run", "corrupt", "single", "alone"):
        (folder / name).mkdir()
    (folder / "notes.txt").write_text("no image")
    (folder / "not-a-run" / "notes.txt").write_text("years of work")
    (folder / "fake.png").write_text("no image either")
    (folder / "text.wav").write_text("la la la")
    for name in ("blank.png", "blank.wav"):
        (folder / name).write_bytes(b"")
    for name in ("one", "two", "three"):
        (folder / "corrupt" / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\ngarbage")
    Image.radial_gradient("L").save(folder / "photo.png")
    shutil.copy(folder / "photo.png", folder / "single")
    whole = (folder / "photo.png").read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    tone = 0.3 * np.sin(np.arange(2000) / 9)
    for name, sound in {
        "tone": tone,
        "silent": 0 * tone,
        "nan": np.nan * tone,
        "loud": 1e9 * tone,
        "none": tone[:0],
    }.items():
        soundfile.write(folder / f"{name}.wav", sound, 8000, "FLOAT")
    for name in ("alone/tone", "sounds/low/0", "sounds/low/1", "sounds/high/0", "sounds/high/1"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / f"{name}.wav", tone, 8000)
    (folder / "cut.wav").write_bytes((folder / "alone" / "tone.wav").read_bytes()[:30])


# The table

NEW_RUN = "see anytime runs list, or train another with anytime train"
NEW_STAGE = "train that stage again with anytime train --run"
UPDATE = "pip install --upgrade anytime-toolkit"
SHARE = "use a share such as 0.6 or 60%"

GLOBAL = [
    Case("smaple", 2, "'smaple'", "Did you mean 'sample'?"),
    Case("trian", 2, "'trian'", "Did you mean 'train'?"),
    Case("Sample", 2, "'Sample'", "Did you mean 'sample'?"),
    Case("''", 2, "No such command ''", "see anytime --help"),
    Case("--verison", 2, "--verison", "--version"),
    Case("--debgu", 2, "--debgu", "--debug"),
    Case("--json", 2, "--json", "see anytime --help"),
    Case("-x", 2, "-x", "see anytime --help"),
    Case("--version=3", 2, "'--version' does not take a value", "see anytime --help"),
    Case("runs --root notes.txt", 1, "notes.txt is not a folder", "--root"),
    Case("runs --json list", 2, "--json stands before list", "after the command"),
    Case("runs --root missing show runs/tiny", 2, "--root stands before show", "after the command"),
    Case("recipes", 2, "Missing command", "see anytime recipes --help"),
    Case("plugins", 2, "Missing command", "see anytime plugins --help"),
    Case("runs lsit", 2, "'lsit'", "Did you mean 'list'?"),
    Case("recipes lsit", 2, "'lsit'", "Did you mean 'list'?"),
    Case("plugins lst", 2, "'lst'", "Did you mean 'list'?"),
    Case("runs 3", 2, "'3'", "see anytime runs --help"),
    *(
        Case(f"{command} --jsn", 2, "--jsn", "--json")
        for command in (
            "train",
            "sample",
            "reconstruct photo.png",
            "evaluate",
            "doctor",
            "recipes list",
            "recipes baselines",
            "recipes show digits",
            "recipes copy digits",
            "plugins list",
            "plugins check image",
            "runs list",
            "runs show",
            "runs rm runs/tiny",
            "runs rename runs/tiny other",
            "runs compare runs/tiny agnostic",
            "runs prune runs/tiny",
        )
    ),
    *(
        Case(f"{command} --json=yes", 2, "'--json' does not take a value", f"see anytime {command} --help")
        for command in ("train", "sample", "evaluate", "doctor", "recipes list", "plugins list", "runs show")
    ),
    *(
        Case(f"{command} extra", 2, "(extra)", f"see anytime {command.partition(' digits')[0]} --help")
        for command in ("train", "sample", "evaluate", "doctor", "recipes list", "recipes baselines", "plugins list")
    ),
    *(
        Case(f"{command} {option}", 2, f"'{option}' requires an argument", f"see anytime {command} --help")
        for command, options in {
            "train": "--modality --config --set --baseline --autoencoder --stage --run --device --precision --seed",
            "sample": "--run --budget --calls --plan --num --label --temperature --top-k --top-p --guidance --seed "
            "--out --format --engine --precision --batch-size --shard --device",
            "reconstruct": "--run --budget --out --format --device",
            "evaluate": "--run --budgets --set --against --num --calls --plan --temperature --top-k --top-p "
            "--guidance --extractor --seed --out --device",
            "plugins check": "--kind --config --set",
            "plugins new": "--kind --out",
            "runs list": "--root",
        }.items()
        for option in options.split()
    ),
]

TRAIN = [
    Case("train --resume missing", 1, "no run at missing", NEW_RUN),
    Case("train --resume auto", 2, "--resume auto", "name it with --run DIR"),
    Case("train --resume runs/tiny --run agnostic", 2, "--run agnostic name two runs", "leave one of them out"),
    Case("train --resume runs/tiny", 2, "runs/tiny is finished", "--stage"),
    Case("train --modality imge", 2, "'imge'", "did you mean 'image'"),
    Case("train --modality Image", 2, "'Image'", "did you mean 'image'"),
    Case("train --modality video", 2, "'video'", "installed are audio, image"),
    Case("train --modality image,audio", 2, "'image,audio'", "installed are audio, image"),
    Case("train --modality ../image", 2, "'../image'", "installed are audio, image"),
    Case("train --config image/mnits", 2, "'image/mnits'", "did you mean 'image/mnist'"),
    Case("train --config mnits", 2, "'mnits'", "did you mean 'mnist'"),
    Case("train --config nowhere", 2, "'nowhere'", "see anytime recipes list"),
    Case("train --config folder", 2, "'folder'", "audio/folder or image/folder"),
    Case("train --config runs/tiny", 2, "runs/tiny: it is a folder, not a file", "see anytime recipes list"),
    Case("train --config ''", 2, "'' names no file", "use ."),
    Case("train --config ~nobody-is-called-so.yaml", 2, "~nobody-is-called-so.yaml", "write ./~nobody"),
    Case("train --config missing.yaml", 2, "missing.yaml: No such file", "see anytime recipes list"),
    Case("train --config pipe", 2, "pipe: it is a pipe, not a file", "see anytime recipes list"),
    Case("train --config pipe.yaml", 2, "pipe.yaml: it is a pipe, not a file", "see anytime recipes list"),
    Case("train --config /dev/null", 2, "/dev/null: it is a device, not a file", "see anytime recipes list"),
    Case("train --config folder.yaml", 2, "folder.yaml: it is a folder, not a file", "see anytime recipes list"),
    Case("train --config binary.yaml", 2, "binary.yaml: it is not text in UTF-8", "see anytime recipes list"),
    Case("train --config photo.png", 2, "photo.png: it is not text in UTF-8", "see anytime recipes list"),
    Case("train --config notes.txt", 2, "notes.txt is not a config", "'key: value' lines"),
    Case("train --config list.yaml", 2, "list.yaml is not a config", "found list"),
    Case("train --config text.yaml", 2, "text.yaml is not a config", "found str"),
    Case("train --config keys.yaml", 2, "keys.yaml is not a config: the key 1"),
    Case("train --config nested.yaml", 2, "network.1", "keys should be strings"),
    Case("train --config malformed.yaml", 2, "malformed.yaml is not valid YAML", "line 2"),
    Case("train --config repeated.yaml", 2, "repeated.yaml is not valid YAML", "duplicate key 'size'"),
    Case("train --config python.yaml", 2, "python.yaml is not valid YAML", "python/object/apply:os.getcwd"),
    Case("train --config documents.yaml", 2, "documents.yaml is not valid YAML", "single document"),
    Case("train --config tab.yaml", 2, "tab.yaml is not valid YAML", "line 2"),
    Case("train --config deep.yaml", 2, "deep.yaml is not valid YAML"),
    Case("train --config itself.yaml", 2, "itself.yaml is not valid YAML", "alias"),
    Case("train --config date.yaml", 2, "seed: input should be a valid integer", "found '2020-13-45'"),
    Case("train --config alias.yaml", 2, "alias.yaml is not valid YAML", "'nothing'"),
    Case("train --config control.yaml", 2, "control.yaml is not valid YAML", "#x0007"),
    Case("train --config merge.yaml", 2, "merge.yaml is not valid YAML", "merging"),
    Case(
        "train --config day.yaml",
        2,
        "seed: input should be a valid integer, unable to parse string as an integer, found '2020-01-02'",
    ),
    Case("train --config typo.yaml", 2, "'netwrok'", "did you mean 'network'"),
    Case("train --config video.yaml", 2, "'video'", "installed are audio, image"),
    Case("train --config number.yaml", 2, "'3'", "installed are audio, image"),
    Case("train --config null.yaml", 2, "network: a section has keys below it, found None"),
    Case("train --config sections.yaml", 2, "network: a section has keys below it, found [1]"),
    Case("train --config quick.yaml --modality audio", 2, "'digits'", "'plucks'"),
    Case("train --config image/digits --modality audio", 2, "'digits'", "'plucks'"),
    Case("train --config quick.yaml --baseline unorderd", 2, "'unorderd'", "did you mean 'unordered'"),
    Case("train --config quick.yaml --baseline PCA", 2, "'PCA'", "unordered, dedicated-N"),
    Case("train --config quick.yaml --baseline ''", 2, "no baseline ''", "unordered, dedicated-N"),
    *(
        Case(f"train --config quick.yaml --baseline {name}", 2, f"'{name}'", "with a number for N")
        for name in ("dedicated", "dedicated-N", "dedicated-0", "dedicated--1", "dedicated-1.5")
    ),
    Case("train --config quick.yaml --baseline dedicated-9", 2, "autoencoder.code_length=9", "at most 8"),
    Case("train --config quick.yaml --stage priro", 2, "'priro'", "'prior'"),
    Case("train --config quick.yaml --stage Prior", 2, "'Prior'", "'prior'"),
    Case("train --config quick.yaml --stage ''", 2, "''", "'prior'"),
    Case("train --stage prior", 2, "--stage prior", "--run DIR, see anytime runs list"),
    Case("train --stage codes", 2, "--stage codes", "--run DIR, see anytime runs list"),
    *(
        Case(f"train --config quick.yaml --device {name}", 2, f"'{name}'", "use auto, cpu, cuda, cuda:N or mps")
        for name in ("gpu", "cuda:-1", "cuda:x", "meta", "CPU")
    ),
    *(
        Case(f"train --config quick.yaml --device {name}", 2, f"'{name}'", "use cpu or auto")
        for name in ("cuda", "cuda:3", "mps")
    ),
    *(
        Case(f"train --config quick.yaml --precision {name}", 2, f"'{name}'", "'auto', 'float32', 'bfloat16'")
        for name in ("fp8", "float64", "int8", "FLOAT32")
    ),
    Case("train --config quick.yaml --precision float16", 2, "float16", "use float32 or bfloat16"),
    *(
        Case(f"train --config quick.yaml --seed {value}", 2, f"found '{value}'", "see anytime train --help")
        for value in ("many", "1.5", "1e3")
    ),
    Case("train --config quick.yaml --seed ''", 2, "found ''", "see anytime train --help"),
    Case("train --config quick.yaml --seed -1", 2, "found -1", "greater than or equal to 0"),
    Case("train --config quick.yaml --seed 9223372036854775808", 2, "found 9223372036854775808", "less than"),
    Case("train --config quick.yaml --out x", 2, "--out", "see anytime train --help"),
    # Runs
    Case("train --config quick.yaml --run not-a-run", 2, "not-a-run", "choose another --run"),
    Case("train --config quick.yaml --run notes.txt", 2, "notes.txt", "choose another --run"),
    Case("train --config quick.yaml --run newer", 1, "newer/run.json has format 99", UPDATE),
    Case("train --run runs/tiny", 2, "runs/tiny is finished", "--stage"),
    *(
        Case(f"train --run runs/tiny --stage {stage}", 2, f"stage {stage} of run runs/tiny is finished", "--force")
        for stage in ("autoencoder", "codes", "prior")
    ),
    Case("train --run half-trained --quick", 2, "half-trained was not started with --quick", "another --run"),
    Case("train --config quick.yaml --quick", 2, "quick has no quick variant", "below quick:"),
    Case("train --config no-quick.yaml", 2, "no-quick.yaml: quick: a section has keys below it, found 3"),
    *(
        Case(f"train --config wrong-quick.yaml{option}", 2, "below quick: in wrong-quick.yaml: ", "mean 'network'")
        for option in ("", " --quick", " --baseline unordered")
    ),
    Case("train --quick --set quick.seed=3", 2, "unknown key 'quick'"),
    Case("train --config no-priors.yaml", 2, "no-priors.yaml: priors: a section has keys below it, found 3"),
    *(
        Case(f"train --config {name}.yaml{option}", 2, place, way_out)
        for name, place, way_out in (
            ("wrong-priors", "below priors.ardm: in wrong-priors.yaml: ", "'prior.bse' (did you mean 'prior.base'?)"),
            ("priors-of-data", "quick.priors.ardm: data is not", "only prior and training.prior may stand here"),
            ("own-prior", "priors.transformer: this is the config's own kind", "those of prior and training.prior"),
            ("unknown-prior", "priors.adrm: no prior of this kind", "did you mean 'ardm'"),
        )
        for option in ("", " --set prior.kind=ardm")
    ),
    Case("train --set priors.ardm.prior.width=8", 2, "unknown key 'priors'", "did you mean 'prior'"),
    Case(
        "train --set prior.kind=ardm --set prior.kv_heads=1", 2, "'prior.kv_heads' for kind 'ardm'", "which has class_"
    ),
    # The autoencoder of another run
    Case("train --autoencoder missing", 1, "no run at missing", NEW_RUN),
    Case("train --autoencoder empty", 1, "empty is not a run", NEW_RUN),
    Case("train --autoencoder notes.txt", 1, "no run at notes.txt", NEW_RUN),
    Case("train --autoencoder ''", 2, "'' names no file"),
    Case("train --autoencoder newer", 1, "newer/run.json has format 99", UPDATE),
    Case("train --autoencoder foreign", 2, "'nope'", "installed are audio, image"),
    Case(
        "train --autoencoder half-trained", 1, "has not finished stage autoencoder", "--run half-trained --stage auto"
    ),
    Case("train --autoencoder continuous", 1, "run continuous has continuous codes", "vq or fsq"),
    Case("train --autoencoder no-encoder", 1, f"no-encoder/{AUTOENCODER}", NEW_STAGE),
    Case("train --autoencoder cut-encoder", 1, f"cut-encoder/{AUTOENCODER}", NEW_STAGE),
    Case("train --autoencoder swapped", 1, f"swapped/{AUTOENCODER} is not the autoencoder", "that belong together"),
    Case("train --autoencoder no-config", 2, "no-config/config.yaml: No such file"),
    Case("train --autoencoder runs/tiny --run runs/tiny", 2, "names the run itself", "--run runs/tiny --stage prior"),
    Case(
        "train --autoencoder runs/tiny --run runs/tiny/new", 2, "runs/tiny/new lies in run runs/tiny", "another --run"
    ),
    Case("train --autoencoder runs/tiny --run audio", 2, "run audio exists", "choose another --run"),
    Case("train --autoencoder runs/tiny --run not-a-run", 2, "not-a-run", "choose another --run"),
    Case("train --autoencoder runs/tiny --run agnostic", 2, "agnostic is finished", "choose another --run"),
    *(
        Case(f"train --autoencoder runs/tiny {option}", 2, option, "leave one of them out")
        for option in ("--stage autoencoder", "--stage codes", "--baseline pca", "--quick")
    ),
    *(
        Case(f"train --autoencoder runs/tiny {option}", 2, f"but the config says {named}", "leave that out")
        for option, named in (
            ("--set network.channels=4", "network.channels=4"),
            ("--set autoencoder.quantizer.kind=fsq", "autoencoder.quantizer.kind="),
            ("--set data.flip=true", "data.flip=true"),
            ("--set training.autoencoder.steps=9", "training.autoencoder.steps=9"),
            ("--modality audio", 'modality="audio"'),
            ("--config image/digits", "autoencoder.quantizer.size=64"),
        )
    ),
    Case("train --autoencoder runs/tiny --config audio/plucks", 2, 'says modality="audio": ', "leave that out"),
    Case("train --autoencoder runs/tiny --set prior.kind=nade2", 2, "no prior 'nade2'", "see anytime plugins list"),
    Case("train --autoencoder runs/tiny --set prior.code_length=9", 2, "prior.code_length=9 is more than the 8 codes"),
    Case("train --run newer", 1, "newer/run.json has format 99", UPDATE),
    *(Case(f"train --run {name}", 1, f"{name}/run.json", NEW_RUN) for name in ("cut-record", "list-record")),
    Case("train --run foreign --stage prior", 2, "'nope'", "installed are audio, image"),
    Case("train --run half-trained --baseline pca", 2, "half-trained was not started with --baseline pca", "another"),
    *(
        Case(f"train --run half-trained --stage {stage}", 1, f"stage {stage}", "--run half-trained --stage autoencoder")
        for stage in ("codes", "prior")
    ),
    Case("train --run missing --stage prior", 1, "missing", "--run missing --stage autoencoder"),
    Case("train --run not-a-run --stage prior", 2, "not-a-run", "choose another --run"),
    Case("train --run no-config --stage prior", 2, "no-config/config.yaml: No such file"),
    Case("train --run bad-config --stage prior", 2, "bad-config/config.yaml is not valid YAML"),
    Case("train --run typo-config --stage prior", 2, "'netwrok'", "did you mean 'network'"),
    Case("train --run audio-config --stage prior", 2, "audio-config is of modality 'image'", "choose another --run"),
    Case("train --run no-encoder --stage prior", 1, f"no-encoder/{AUTOENCODER}", NEW_STAGE),
    Case("train --run cut-encoder --stage prior", 1, f"cut-encoder/{AUTOENCODER}", NEW_STAGE),
    Case("train --run newer-encoder --stage prior", 1, f"newer-encoder/{AUTOENCODER} has format 99", UPDATE),
    Case("train --run swapped --stage prior", 1, f"swapped/{AUTOENCODER}", NEW_STAGE),
    Case("train --run continuous --stage prior", 1, "stage prior of run continuous", "--stage codes"),
    Case("train --run continuous --stage codes", 2, "autoencoder.quantizer.kind=none", "use vq or fsq"),
    *(
        Case(f"train --run runs/tiny --stage prior --set {setting}", 2, "than that of runs/tiny", "into another --run")
        for setting in ("autoencoder.axis=spatial", "network.channels=4", "autoencoder.quantizer.size=17")
    ),
    # Data
    *(
        Case(f"train --config {kind}/folder", 1, "data.name=folder", "needs data.root=DIR")
        for kind in ("image", "audio")
    ),
    *(
        Case(f"train --config {kind}/folder --set data.root={root}", 1, names, way_out)
        for kind, root, names, way_out in (
            ("image", "missing", "/missing is not a folder", "data.root="),
            ("audio", "missing", "/missing is not a folder", "data.root="),
            ("image", "notes.txt", "/notes.txt is not a folder", "data.root="),
            ("image", "empty", "/empty", "looked for .apng"),
            ("audio", "empty", "/empty", "looked for .aif"),
            ("image", "sounds", "/sounds", "looked for .apng"),
            ("audio", "single", "/single", "looked for .aif"),
            ("image", "corrupt", "none of the 2 images of a part can be read", "/corrupt/two.png"),
            ("image", "single", "single/photo.png is the only image", "at least 2"),
            ("audio", "alone", "alone/tone.wav is the only sound", "at least 2"),
        )
    ),
    Case("train --config audio/folder --set data.root=sounds --set data.cache=notes.txt", 1, "notes.txt", "data.cache"),
    *(
        Case(f"train --config {name} --set data.root={root}", 1, f"not found in {root}", "set data.root=DIR")
        for name, root in (
            ("mnist", "empty"),
            ("mnist", "missing"),
            ("mnist", "notes.txt"),
            ("fashion-mnist", "missing"),
            ("cifar10", "missing"),
            ("fsdd", "empty"),
            ("fsdd", "missing"),
            ("vctk", "missing"),
            ("speechcommands", "missing"),
        )
    ),
]


def _changed(config: str, *settings: tuple[str, str]) -> list[Case]:
    """Wrong values of a config, with what the message says of each."""
    return [
        Case(" ".join([f"train --config {config}", *(f"--set '{one}'" for one in setting.split("; "))]), 2, names)
        for setting, names in settings
    ]


def _words(text: str) -> list[str]:
    return text.split()


def _out_of_range(config: str, *settings: str) -> list[Case]:
    """Values that are too small or too large, which the message repeats."""
    return _changed(config, *((one, f"{one.partition('=')[0]}: input should be ") for one in settings))


CONFIG = [
    *_changed(
        "quick.yaml",
        ("network.channels", "'network.channels' is not of the form key.subkey=value"),
        ("", "'' is not of the form key.subkey=value"),
        ("=8", "'=8' is not of the form key.subkey=value"),
        (".network=8", "'.network=8' is not of the form"),
        ("network..channels=8", "'network..channels=8' is not of the form"),
        ("network.widths=[8", "'[8' is not valid YAML"),
        ("network.widths={", "'{' is not valid YAML"),
        ("network.channels=*a", "'*a' is not valid YAML"),
        ("network.channels=2020-13-45", "found '2020-13-45'"),
        ("network.channels=!!python/name:os.system", "'!!python/name:os.system' is not valid YAML"),
        ("network.channels.x=1", "'channels' is a value, not a section"),
        ("loss.weight=8", "loss: input should be 'mse' or 'l1'"),
        # Keys
        ("seeed=3", "'seeed' (did you mean 'seed'?)"),
        ("modalty=image", "'modalty' (did you mean 'modality'?)"),
        ("foo=1", "unknown key 'foo'"),
        ("foo.bar=1", "unknown key 'foo'"),
        ("network.chanels=8", "'network.chanels' (did you mean 'network.channels'?)"),
        ("data.rooot=x", "'data.rooot' (did you mean 'data.root'?)"),
        ("data.rate=8000", "unknown key 'data.rate'"),
        ("network.hop=3", "unknown key 'network.hop'"),
        ("autoencoder.quantiser.kind=vq", "(did you mean 'autoencoder.quantizer'?)"),
        ("autoencoder.quantizer.sise=8", "(did you mean 'autoencoder.quantizer.size'?)"),
        ("autoencoder.quantizer.levels=[8]", "'autoencoder.quantizer.levels' for kind 'vq'"),
        ("prior.layer=3", "(did you mean 'prior.layers'?)"),
        ("prior.base=4", "'prior.base' for kind"),
        ("training.worker=1", "(did you mean 'training.workers'?)"),
        ("training.autoencoder.step=3", "(did you mean 'training.autoencoder.steps'?)"),
        ("training.codes.copy=2", "(did you mean 'training.codes.copies'?)"),
        ("training.prior.lr=1", "unknown key 'training.prior.lr'"),
        # Sections
        *(
            (f"{section}=3", f"{section}: a section has keys below it, found 3")
            for section in (
                "autoencoder",
                "autoencoder.truncation",
                "training",
                "training.autoencoder",
                "training.codes",
            )
        ),
        ("network=3", "network: a section has keys below it, found 3"),
        ("data=digits", "data: a section has keys below it, found 'digits'"),
        # Names
        ("modality=video", "'video'"),
        ("modality=[]", "'[]'"),
        ("autoencoder.kind=orderd", "found 'orderd'"),
        ("autoencoder.kind=null", "found None"),
        ("autoencoder.axis=diagonal", "found 'diagonal'"),
        ("autoencoder.axis=0", "found 0"),
        ("autoencoder.dropped=noise", "found 'noise'"),
        ("autoencoder.tell_decoder=maybe", "found 'maybe'"),
        ("autoencoder.quantizer.kind=rvq", "no quantizer 'rvq'"),
        ("autoencoder.quantizer.kind=none", "use vq or fsq"),
        ("autoencoder.quantizer.shared=some", "found 'some'"),
        ("autoencoder.quantizer.update=sgd", "found 'sgd'"),
        ("autoencoder.truncation.distribution=gaussian", "found 'gaussian'"),
        ("autoencoder.truncation.decode=all", "found 'all'"),
        ("autoencoder.truncation.balance=2", "found 2"),
        ("prior.kind=diffusion", "no prior 'diffusion': choose transformer, made, "),
        ("prior.code_vectors=few", "found 'few'"),
        ("prior.class_conditional=always", "found 'always'"),
        ("training.device=gpu", "found 'gpu'"),
        ("training.device=0", "found '0'"),
        ("training.precision=fp8", "found 'fp8'"),
        ("training.precision=32", "found 32"),
        ("data.name=minst", "found 'minst'"),
        ("data.name=null", "found None"),
        ("data.root=~nobody-is-called-so", "data.root: ~nobody-is-called-so: no user is called"),
        ("data={root: true}", "data.root: input is not a valid path"),
        ("data.color=gray", "found 'gray'"),
        ("data.download=perhaps", "found 'perhaps'"),
        ("data.flip=up", "found 'up'"),
        ("network.kind=transformer", "found 'transformer'"),
        ("network.encoder_norm=layer", "found 'layer'"),
        ("network.decoder_norm=none", "found 'none'"),
        ("loss=l3", "found 'l3'"),
        ("loss=null", "found None"),
        # Several values together
        ("autoencoder.code_length=9", "autoencoder.code_length=9 is more than the 8 channels"),
        ("autoencoder.axis=spatial; autoencoder.code_length=2", "use autoencoder.axis=channel"),
        ("autoencoder.kind=pca", "as --baseline pca sets them"),
        ("autoencoder.kind=identity", "as --baseline identity sets them"),
        ("prior.width=33", "prior.width=33 is not a multiple of prior.heads=2"),
        ("prior.heads=3", "prior.width=32 is not a multiple of prior.heads=3"),
        ("prior.kv_heads=3", "prior.heads=2 is not a multiple of prior.kv_heads=3"),
        ("prior.heads=8; prior.kv_heads=16", "prior.heads=8 is not a multiple of prior.kv_heads=16"),
        ("prior.kv_heads=all", "found 'all'"),
        ("prior.kind=ardm; prior.kv_heads=1", "unknown key 'prior.kv_heads'"),
        ("prior.attention=sparse", "found 'sparse'"),
        ("prior.kind=ardm; prior.attention=local", "unknown key 'prior.attention'"),
        ("prior.block=2", "prior.block=2 means nothing with prior.attention=full"),
        ("prior.attention=strided; prior.block=9", "prior.block=9 is more than the 8 codes: use 8 or less, or null"),
        ("prior.attention=local; prior.summary=1", "prior.summary=1 means nothing with prior.attention=local"),
        ("prior.attention=fixed; prior.block=2; prior.summary=3", "prior.summary=3 is more than the 2 positions"),
        ("prior.positions=grid", "prior.positions=grid adds up embeddings of rows and columns"),
        ("prior.positions=sines", "found 'sines'"),
        ("prior.code_length=9", "prior.code_length=9 is more than the 8 codes"),
        ("network.widths=[8,8,8,8]", "choose data.size=16 or more, or at most 3 widths"),
        ("network.widths=[]", "network.widths: tuple should have at least 1 item"),
        ("network.widths=16", "network.widths: input should be a valid tuple, found 16"),
        ("network.widths=[16,0]", "network.widths.1: input should be greater than or equal to 1, found 0"),
        ("network.widths=[1,1,1,1,1,1,1,1,1]", "network.widths: tuple should have at most 8 items"),
        ("autoencoder.quantizer={kind: fsq, levels: [1]}", "levels.0: input should be greater than or equal to 2"),
        ("autoencoder.quantizer={kind: fsq, levels: [65537]}", "levels.0: input should be less than or equal to 65536"),
        ("autoencoder.quantizer={kind: fsq, levels: []}", "levels: tuple should have at least 1 item"),
        ("autoencoder.quantizer={kind: fsq, levels: 8}", "levels: input should be a valid tuple, found 8"),
        ("autoencoder.quantizer={kind: fsq, levels: [4096, 4097]}", "found [4096, 4097]"),
        ("autoencoder.quantizer={kind: fsq, size: 8}", "'autoencoder.quantizer.size' for kind"),
        ("autoencoder.quantizer={kind: none, size: 8}", "'autoencoder.quantizer.size' for kind"),
        ("prior.kind=ardm; prior.base=1", "prior.base: a base is at least 2"),
        ("prior.kind=ardm; prior.base=ten", "found 'ten'"),
        ("prior.kind=ardm; prior.base=2.5", "found 2.5"),
        ("prior.kind=ardm; prior.base=levels", "prior.base=levels draws the levels of fsq codes"),
        ("prior.kind=ardm; prior.time_input=often", "found 'often'"),
        ("prior.kind=ardm; prior.prefix=0.1", "(did you mean 'prior.prefix_share'?)"),
        ("prior.kind=ardm; prior.cross_entropy=-1", "found -1"),
        ("prior.kind=ardm; prior.prefix_share=1", "found 1"),
    ),
    *_out_of_range(
        "quick.yaml",
        *_words(
            "seed=-1 seed=many seed=1.5 seed=null seed=[1] seed=9223372036854775808 network.channels=many "
            "network.channels=2.5 network.channels= network.channels=0 network.channels=65537 network.depth=-1 "
            "network.depth=65 data.size=3 data.size=4097 data.size=big data.size=8.5 data.shift=-1 "
            "data.shift=4097 data.validation_share=0 data.validation_share=1 data.validation_share=.nan "
            "autoencoder.code_length=0 autoencoder.code_length=some autoencoder.quantizer.size=1 "
            "autoencoder.quantizer.size=16777217 autoencoder.quantizer.size=many autoencoder.quantizer.decay=1 "
            "autoencoder.quantizer.decay=-0.1 autoencoder.quantizer.commitment=-1 "
            "autoencoder.quantizer.commitment=.inf autoencoder.quantizer.dead_threshold=1 "
            "autoencoder.truncation.ratio=0 autoencoder.truncation.ratio=1 "
            "autoencoder.truncation.full_share=1.1 autoencoder.truncation.full_share=-0.1 "
            "autoencoder.truncation.full_weight=0 autoencoder.truncation.full_weight=1 "
            "autoencoder.truncation.warmup=1 prior.layers=0 prior.layers=257 prior.layers=two prior.width=0 "
            "prior.width=65537 prior.heads=0 prior.kv_heads=0 prior.block=0 prior.block=row prior.summary=0 "
            "prior.feedforward=0 prior.dropout=1 prior.dropout=-0.1 "
            "prior.dropout=.nan prior.code_length=0 training.workers=-1 training.workers=257 "
            "training.autoencoder.steps=0 training.autoencoder.steps=1.5 training.autoencoder.batch_size=0 "
            "training.autoencoder.learning_rate=0 training.autoencoder.learning_rate=.inf "
            "training.autoencoder.learning_rate=fast training.autoencoder.weight_decay=-1 "
            "training.autoencoder.gradient_clip=0 training.autoencoder.validations=0 "
            "training.autoencoder.validation_samples=0 training.codes.batch_size=0 training.codes.copies=0 "
            "training.codes.copies=1001 training.prior.steps=0 training.prior.batch_size=-3 "
            "training.prior.learning_rate=.nan training.prior.weight_decay=-1 training.prior.gradient_clip=-1 "
            "training.prior.validations=0 training.prior.validation_samples=none"
        ),
    ),
    *_out_of_range(
        "sound.yaml",
        *_words(
            "data.rate=999 data.rate=192001 data.rate=fast data.length=63 data.length=4194305 data.top_db=0 "
            "data.top_db=-3 data.peak=0 data.peak=1.1 data.shift=-1 data.validation_share=1 network.channels=0 "
            "network.width=0 network.width=16385 network.depth=-1 network.depth=65 network.hop=1 "
            "network.window=3 network.window=32769 network.expansion=0 network.expansion=17 loss.log_mel=-1 "
            "loss.stft=.inf loss.mse=many loss.l1=.nan data.name=drums data.cut=middle "
            "network.kind=convolutional encoding=mp3 encoding=16 speech_metrics=loud"
        ),
    ),
    *_changed(
        "sound.yaml",
        ("data.length=250", "data.length=250 is not a multiple of the 32 audio samples"),
        ("data={cache: [1]}", "data.cache: input is not a valid path"),
        ("data.size=8", "unknown key 'data.size'"),
        ("network.hop=33", "network.hop=33 must be even"),
        ("network.window=32", "network.window=32 and network.hop=32"),
        ("network.window=65", "network.window=65"),
        ("network=nope", "network: a section has keys below it, found 'nope'"),
        ("network.widths=[8]", "'network.widths' for kind"),
        ("loss=mse", "loss: a section has keys below it, found 'mse'"),
        ("loss.mel=1", "(did you mean 'loss.mse'?)"),
        ("loss.log_mel=0; loss.mse=0", "set loss.log_mel=1"),
        ("speech_metric=true", "(did you mean 'speech_metrics'?)"),
        ("network.kind=wave; network.width=8", "'network.width' for kind"),
        ("network.kind=wave; network.kernel=10", "network.kernel: a kernel has an odd number of taps, found 10"),
        ("network.kind=wave; network.kernel=1", "found 1"),
        ("network.kind=wave; network.stride=17", "found 17"),
        ("network.kind=wave; network.post_filter=-1", "found -1"),
        ("network.kind=wave; data.length=250", "data.length=250 is not a multiple of the 64"),
        ("network.kind=residual; network.strides=[4]", "network.strides=[4]"),
        ("network.kind=residual; network.strides=[4,4,1]", "network.strides.2"),
        ("network.kind=residual; network.activation=relu", "found 'relu'"),
        ("network.kind=residual; network.widths=[0,1,1]", "network.widths.0"),
    ),
]

BUDGETS = [
    *(
        Case(f"{command} '{budget}'", 2, f"budget '{budget}'", SHARE)
        for command, budgets in {
            "sample --budget": (
                *("0", "-1", "0%", "101%", "0codes", "-5codes", "1.5codes", "1e999codes", "5 apples", "0ms", "-1.5s"),
                *("5minutes", "NaN", "inf", "1e999s", "abc", "", " ", "%", "1_0codes", "0x1", "٣codes", "adaptiv"),
            ),
            "reconstruct photo.png --budget": ("0", "101%", "1.5codes", "abc", ""),
            "evaluate --budgets": ("0", "101%", "1.5codes", "abc", ""),
        }.items()
        for budget in budgets
    ),
    *(
        Case(f"{command} {budget}", 2, f"budget {budget} is more than the 8 codes there are", "at most 8codes or 100%")
        for command in ("sample --budget", "reconstruct photo.png --budget", "evaluate --budgets")
        for budget in ("9codes", "1000000000codes")
    ),
    *(
        Case(f"{command} 1.7", 2, "budget '1.7'", "write 1.7%")
        for command in ("sample --budget", "reconstruct photo.png --budget", "evaluate --budgets")
    ),
    Case("sample --budget 7", 2, "budget '7'", "for 7 codes write 7codes, for a share of the codes write 7%"),
    *(
        Case(
            f"{command} 200",
            2,
            "budget '200'",
            "there are 8 codes, so write at most 8codes, for a deadline write 200ms",
        )
        for command in ("sample --budget", "sample --run agnostic --calls 3 --budget")
    ),
    *(
        Case(f"{command} 200", 2, "budget '200'", "there are 8 codes, so write at most 8codes")
        for command in ("reconstruct photo.png --budget", "evaluate --calls all,3 --budgets")
    ),
    Case("sample --budget 0,5", 2, "budget '0,5'", SHARE),
    *(
        Case(f"sample --budget adaptive:{value}", 2, f"'adaptive:{value}'", "adaptive")
        for value in ("0", "-1", "nan", "inf")
    ),
    *(Case(f"sample --budget adaptive:{value}", 2, f"'adaptive:{value}'", "adaptive:0.5") for value in ("much", "1_0")),
    *(
        Case(f"{command} {budget}", 2, f"budget {shown} ", "use a share or a number of codes")
        for command in ("reconstruct photo.png --budget", "evaluate --budgets")
        for budget, shown in (("200ms", "200ms"), ("1.5s", "1.5s"), ("adaptive", "adaptive:0.5"))
    ),
    *(Case(f"evaluate --budgets {value}", 2, "budget ''", SHARE) for value in (",", "0.5,", "0.5,,1")),
    *(Case(f"evaluate --budgets '{value}'", 2, f"budget '{value}'", SHARE) for value in ("0.1 0.2", "0.1;0.2")),
    Case("evaluate --budgets 50%,120%", 2, "budget '120%'", SHARE),
]

RUNS = [
    *(
        Case(f"{command} {run}", 1, names, way_out)
        for command in ("sample --run", "reconstruct photo.png --run", "evaluate --run", "evaluate --against")
        for run, names, way_out in (
            ("missing", "no run at missing", NEW_RUN),
            ("notes.txt", "no run at notes.txt", NEW_RUN),
            ("not-a-run", "not-a-run is not a run", NEW_RUN),
            (
                "half-trained",
                "run half-trained has no autoencoder",
                "anytime train --resume half-trained",
            ),
            ("newer", "newer/run.json has format 99", UPDATE),
            ("foreign", "'nope'", "install it, see anytime plugins list"),
            ("cut-record", "cut-record/run.json", NEW_RUN),
            ("fewer-classes", "fewer-classes/run.json", "put back the files that belong together"),
            ("cut-encoder", f"cut-encoder/{AUTOENCODER}", NEW_STAGE),
            ("cut-prior", f"cut-prior/{PRIOR}", NEW_STAGE),
            ("swapped", f"swapped/{AUTOENCODER}", NEW_STAGE),
        )
    ),
    *(
        Case(f"{command} {run}", 1, f"{run}/run.json", NEW_RUN)
        for command in ("sample --run", "runs show")
        for run in (
            *("list-record", "blank-record", "folder-record", "no-version", "text-version", "no-modality", "no-plugin"),
            *("wrong-type", "wrong-stage"),
        )
    ),
    Case("sample --run ''", 2, "'' names no file", "see anytime sample --help"),
    Case("sample --out ''", 2, "'' names no file", "see anytime sample --help"),
    Case("sample --run a --run b", 2, "given twice, as 'a' and 'b'", "leave one of them out"),
    Case("sample --num 1 --seed=2 --num=3", 2, "given twice, as '1' and '3'", "leave one of them out"),
    Case("train --seed 1 --set seed=2", 2, "--seed 1 and --set seed=2 say two things", "leave one of them out"),
    Case("train --device cpu --set training.device=auto", 2, "--device cpu and --set training", "leave one"),
    Case("sample --run runs", 1, "runs is not a run", NEW_RUN),
    *(
        Case(f"{command} --run runs/tiny --out runs/tiny", 2, "runs/tiny is a run", "choose another --out")
        for command in ("sample", "evaluate --num 2")
    ),
    Case("sample --run empty", 1, "empty is not a run", NEW_RUN),
    Case("sample --run runs/tiny/run.json", 1, "runs/tiny/run.json", NEW_RUN),
    Case("sample --run without-prior", 1, "without-prior", "anytime train --run without-prior"),
    Case("sample --run continuous", 1, "continuous has no prior yet", "anytime train --run continuous"),
    *(
        Case(f"sample --run {run}", 1, f"{run}/run.json does not fit", "put back the files that belong together")
        for run in ("other-length", "other-modality", "audio-encoder", "audio-prior")
    ),
    Case("sample --run no-encoder", 1, "no-encoder/autoencoder.safetensors is missing", "--stage autoencoder"),
    *(
        Case(f"sample --run {what}-{name}", 1, f"{what}-{name}/{file}", way_out)
        for name, file, whats in (
            ("encoder", AUTOENCODER, ("blank", "garbage", "foreign", "folder", "newer")),
            ("prior", PRIOR, ("no", "blank", "garbage", "foreign", "folder", "newer")),
        )
        for what in whats
        for way_out in [UPDATE if what == "newer" else NEW_STAGE]
    ),
    *(
        Case(f"sample --run {run}", 1, f"{run}/{file}", NEW_STAGE)
        for run, file in (
            ("other-size", AUTOENCODER),
            ("unknown-quantizer", AUTOENCODER),
            ("other-kind", PRIOR),
        )
    ),
    Case("sample --run unknown-kind", 1, "needs a plugin: no prior 'diffusion' is", "see anytime plugins list"),
    Case("runs show missing", 1, "no run at missing", NEW_RUN),
    Case("runs show notes.txt", 1, "no run at notes.txt", NEW_RUN),
    Case("runs show notes.txt/below", 1, "no run at notes.txt/below", NEW_RUN),
    Case("runs show not-a-run", 1, "not-a-run is not a run", NEW_RUN),
    Case("runs show newer", 1, "newer/run.json has format 99", UPDATE),
    Case("runs show cut-record", 1, "cut-record/run.json", NEW_RUN),
    Case("runs show --json missing", 1, "no run at missing", NEW_RUN),
    Case("runs show a b", 2, "(b)", "see anytime runs show --help"),
    Case("runs show --run tiny", 2, "--run", "see anytime runs show --help"),
    Case("runs rm", 2, "'RUN", "see anytime runs rm --help"),
    Case("runs rm runs/tiny", 2, "can only ask on a terminal", "--yes"),
    Case("runs rename runs/tiny", 2, "'name'", "see anytime runs rename --help"),
    *(
        Case(f"runs rename runs/tiny {name}", 2, f"'{shown}'", "one name")
        for name, shown in (("''", ""), ("..", ".."), ("a/b", "a/b"), ("/tmp/x", "/tmp/x"))
    ),
    Case("runs rename agnostic newer", 2, "newer exists", "another name"),
    Case("runs compare runs/tiny", 2, "'second'", "see anytime runs compare --help"),
    Case("runs compare runs/tiny missing", 1, "no run at missing", NEW_RUN),
    Case("runs prune cut-record", 1, "cut-record/run.json is not that of a run", "yourself"),
    *(
        Case(f"runs {command}", 1, f"{name} is not a run", "see anytime runs list")
        for name in ("not-a-run", "missing", "empty")
        for command in (f"rm --yes {name}", f"rm --yes runs/tiny {name}", f"rename {name} other", f"prune {name}")
    ),
    Case("runs list here", 2, "(here)", "see anytime runs list --help"),
    Case("runs list --root notes.txt", 1, "notes.txt is not a folder", "--root"),
    Case("evaluate --run without-data --num 2", 1, "data.root=nowhere", "is not a folder"),
    Case("evaluate --against runs/tiny --against missing", 1, "no run at missing", NEW_RUN),
    Case("evaluate --against audio", 2, "run audio cannot be compared with runs/tiny", "modality"),
    Case("evaluate --run audio --against runs/tiny", 2, "run runs/tiny cannot be compared with audio", "modality"),
]

SAMPLE = [
    Case("sample --bugdet 0.5", 2, "--bugdet", "--budget"),
    Case("sample --progressive 3", 2, "(3)", "see anytime sample --help"),
    Case("sample --pack=yes", 2, "'--pack' does not take a value", "see anytime sample --help"),
    *(
        Case(f"sample --{option} '{value}'", 2, f"'--{option}'", f"found '{value}'")
        for option, values in {
            "calls": ("1.5", "many", ""),
            "num": ("0", "-1", "some", "1.5", "", "1000000000001", "9223372036854775808"),
            "batch-size": ("0", "-3", "many"),
            "seed": ("x", "1.5"),
            "temperature": ("hot", ""),
            "top-k": ("1.5", "few"),
            "top-p": ("most", ""),
            "guidance": ("strong", ""),
        }.items()
        for value in values
    ),
    Case("sample --seed -1", 2, "seed -1", "0..2^63-1"),
    Case("sample --seed 9223372036854775808", 2, "seed 9223372036854775808", "0..2^63-1"),
    Case("sample --temperature -1", 2, "temperature -1.0", "0 or a positive number"),
    Case("evaluate --temperature -1", 2, "temperature -1.0", "0 or a positive number"),
    Case("evaluate --top-k 0", 2, "top-k 0", "of at least 1"),
    Case("evaluate --top-p 2", 2, "top-p 2.0", "in (0, 1]"),
    Case("sample --temperature nan", 2, "temperature nan", "0 or a positive number"),
    Case("sample --temperature inf", 2, "temperature inf", "0 or a positive number"),
    *(
        Case(f"{command} --guidance {value}", 2, f"guidance {value}", "0 or a positive number")
        for command in ("sample", "evaluate")
        for value in ("-1.0", "nan", "inf")
    ),
    Case("sample --guidance 2", 2, "guidance 2 needs a prior", "--set prior.label_dropout=0.1"),
    Case("sample --run unconditional --guidance 2", 2, "guidance 2 needs class labels", "use 1"),
    Case("evaluate --guidance 2", 2, "guidance 2 needs a prior", "--set prior.label_dropout=0.1"),
    Case("sample --top-k 0", 2, "top-k 0", "at least 1"),
    Case("sample --top-k -1", 2, "top-k -1", "at least 1"),
    *(Case(f"sample --top-p {value}", 2, f"top-p {value}", "(0, 1]") for value in ("0", "1.5", "-0.5", "nan")),
    *(
        Case(f"sample --shard '{value}'", 2, f"--shard '{value}'", "i/n with 0 <= i < n, such as 0/4")
        for value in ("2/2", "4/3", "a/b", "1", "", "0/0", "-1/2", "0/3/4", "1/", "/2", "0 / 2", "0.5/2")
    ),
    *(
        Case(f"sample --shard {shard} --num 3", 2, "--shard ", "use at most 3 shards")
        for shard in ("5/8", "0/8", "0/999999999", "0/" + "9" * 5000, "9" * 5000 + "/1")
    ),
    Case("sample --pack --shard 2/2", 2, "--shard '2/2'", "such as 0/4"),
    # Labels
    *(
        Case(f"sample --label '{value}'", 2, f"'{value}'", "the classes are 0, 1, 2")
        for value in ("-1", "seven", "3.0", "1e0", "²", "10", "index:", "index:-1", "index:²", "index: 3", "Index:3")
    ),
    Case("sample --label seven", 2, "'seven'", "by number index:0 to index:9"),
    Case("sample --label index:10", 2, "label index:10 is not in 0..9", "the classes are 0, 1, 2"),
    Case("sample --label ''", 2, "no class ''", "the classes are 0, 1, 2"),
    Case("sample --label 3=2 --label 4", 2, "--label 4 is one of several", "as in --label 4=10"),
    Case("sample --label 3 --label 4", 2, "--label 3 is one of several", "as in --label 3=10"),
    Case("sample --label 3=2 --num 2", 2, "--num 2", "leave --num out"),
    Case("sample --label 3=2 --label index:3=4", 2, "class '3' is counted twice", "give it one count"),
    Case("sample --label seven=2", 2, "no class 'seven'", "the classes are 0, 1, 2"),
    Case("sample --label 3=2 --shard 2/4", 2, "--shard 2/4", "use at most 2 shards"),
    *(
        Case(f"sample --label 3={count}", 2, f"'{count}' is no number of samples of class '3'", "as in 3=10")
        for count in ("", "0", "-1", "1.5", "ten", "1" + "0" * 12)
    ),
    Case("sample --label 3=999999999999 --label 4=2", 2, "make 1000000000001 samples", "use at most"),
    Case("sample --run unconditional --label 3=2", 2, "label '3", "unconditional"),
    Case("sample --format npz --pack", 2, "--format npz", "leave one of them out"),
    Case("sample --budget 200ms --label seven", 2, "'seven'", "the classes are 0, 1, 2"),
    Case("sample --run unconditional --label 3", 2, "label '3'", "unconditional"),
    Case("sample --run audio --label hihg", 2, "'hihg'", "did you mean 'high'"),
    Case("sample --run audio --label 1", 2, "no class '1'", "the classes are high, low, by number index:0 to index:1"),
    Case("sample --run audio --label index:2", 2, "label index:2", "the classes are high, low"),
    # Engines, devices, precisions
    Case("sample --engine egaer", 2, "'egaer'", "did you mean 'eager'"),
    *(
        Case(f"sample --engine {name}", 2, f"'{name}'", "use auto, plain, eager, numba, exact, graph, compile")
        for name in ("nope", "EAGER")
    ),
    Case("sample --engine ''", 2, "no engine ''", "use auto, plain, eager, numba, exact, graph, compile"),
    Case("sample --engine graph --device cpu", 2, "engine 'graph' needs a CUDA device", "--engine eager"),
    Case("sample --budget adaptive --engine graph --device cpu", 2, "engine 'graph'", "--engine eager"),
    *(
        Case(
            f"sample --engine {engine} --precision {precision}",
            2,
            f"engine '{engine}' has no precision '{precision}'",
            way,
        )
        for engine, precision, way in (
            ("plain", "bfloat16", "use float32"),
            ("eager", "int8", "use float32, bfloat16"),
            ("numba", "bfloat16", "use float32, int8"),
            ("compile", "int8", "use float32, bfloat16"),
        )
    ),
    *(
        Case(f"sample --precision '{name}'", 2, f"no precision '{name}'", "use auto, float32, bfloat16, int8")
        for name in ("fp8", "float16", "")
    ),
    *(
        Case(f"{command} --device '{name}'", 2, f"unknown device '{name}'", "use auto, cpu, cuda, cuda:N or mps")
        for command, names in {
            "sample": ("gpu", "cuda:x", "cuda:-1", "meta", "0", ""),
            "reconstruct photo.png": ("gpu",),
            "evaluate": ("gpu",),
        }.items()
        for name in names
    ),
    *(
        Case(f"{command} --device {name}", 2, f"device '{name}' is not here", "use cpu or auto")
        for command in ("sample", "reconstruct photo.png", "evaluate")
        for name in ("cuda:3", "mps")
    ),
    # Network calls
    *(Case(f"sample --calls {value}", 2, f"calls {value}", "at least 1") for value in ("0", "-1")),
    Case("sample --calls 3", 2, "calls 3 has no meaning", "--set prior.kind=ardm"),
    Case("sample --budget adaptive --calls 3", 2, "calls 3 has no meaning", "--set prior.kind=ardm"),
    *(Case(f"sample --plan {plan}", 2, f"plan {plan}", "--set prior.kind=ardm") for plan in ("linear", "certain")),
    *(
        Case(f"{command} --plan '{plan}'", 2, f"no plan '{plan}'", "use optimal, linear, certain")
        for command in ("sample", "sample --run agnostic", "evaluate")
        for plan in ("optimum", "3,3,2", "")
    ),
    Case("sample --run agnostic --calls 0", 2, "calls 0", "at least 1"),
    Case("sample --run agnostic --calls 9", 2, "9 calls", "use 1 to 8 calls"),
    Case("sample --run agnostic --budget 2codes --calls 3", 2, "3 calls", "use 1 to 2 calls"),
    Case("sample --run agnostic --budget adaptive", 2, "budget adaptive:0.5", "use a share or a number of codes"),
    Case("sample --run agnostic --budget 9codes", 2, "budget 9codes"),
    Case("sample --run agnostic --label 10", 2, "no class '10'", "the classes are"),
    *(
        Case(f"sample --run agnostic --engine {name}", 2, f"'{name}'", "auto, plain, eager")
        for name in ("numba", "compile")
    ),
    Case("sample --run agnostic --engine graph", 2, "'graph'", "--engine eager"),
    Case("sample --run agnostic --engine plain --precision bfloat16", 2, "'bfloat16'", "use float32"),
    Case("sample --run agnostic --precision int8", 2, "'int8'", "use float32, bfloat16"),
    # Output
    *(
        Case(f"{command} --out notes.txt", 2, "notes.txt is a file, not a folder", "choose another --out")
        for command in ("sample", "sample --pack", "reconstruct photo.png")
    ),
    Case("evaluate --out notes.txt", 1, "cannot write to notes.txt", "choose another --out"),
    *(
        Case(f"{command} --out {out}", 1, f"cannot write to {out}", "choose another --out")
        for command in ("sample", "sample --pack", "reconstruct photo.png", "evaluate")
        for out in ("notes.txt/below", "notes.txt/far/below")
    ),
    *(
        Case(f"{command} --format '{name}'", 2, f"writes no .{name} files", "use .png, .jpg")
        for command in ("sample", "sample --pack", "reconstruct photo.png")
        for name in ("gif", "wav", "")
    ),
    *(
        Case(f"{command} --format {name}", 2, f"writes no .{name} files", "use .wav, .flac")
        for command in ("sample --run audio", "reconstruct tone.wav --run audio")
        for name in ("mp3", "png")
    ),
    *(
        Case(f"{command} --json {option}", status, names)
        for command, option, status, names in (
            ("sample", "--budget 0", 2, "'0'"),
            ("sample", "--label seven", 2, "'seven'"),
            ("reconstruct", "missing.png", 1, "missing.png"),
            ("evaluate", "--budgets 0", 2, "'0'"),
            ("evaluate", "--run missing", 1, "missing"),
        )
    ),
]

RECONSTRUCT = [
    Case("reconstruct", 2, "'files'", "see anytime reconstruct --help"),
    Case("reconstruct photo.png --bugdet 3", 2, "--bugdet", "--budget"),
    Case("reconstruct ''", 2, "'' names no file", "see anytime reconstruct --help"),
    *(
        Case(f"reconstruct {file}", 1, f"{file} cannot be read: it is {kind}, not a file")
        for file, kind in (
            ("empty", "a folder"),
            ("folder.png", "a folder"),
            ("runs/tiny", "a folder"),
            ("pipe.png", "a pipe"),
            ("/dev/zero", "a device"),
        )
    ),
    Case("reconstruct notes.txt/photo.png", 1, "notes.txt/photo.png cannot be read: Not a directory"),
    *(
        Case(f"reconstruct {files}", 1, f"{files.split()[-1]} does not exist")
        for files in ("missing.png", "-", "'*.jpg'".strip("'"), "photo.png missing.png")
    ),
    *(
        Case(f"reconstruct {file}", 1, f"{file} cannot be read as an image")
        for file in (
            *("notes.txt", "fake.png", "blank.png", "truncated.png", "tone.wav", "quick.yaml"),
            f"runs/tiny/{AUTOENCODER}",
        )
    ),
    *(
        Case(f"reconstruct --run audio {file}", 1, f"{file} {problem}")
        for file, problem in (
            ("missing.wav", "does not exist"),
            ("photo.png", "cannot be read as a sound"),
            ("text.wav", "cannot be read as a sound"),
            ("blank.wav", "cannot be read as a sound"),
            ("cut.wav", "cannot be read as a sound"),
            ("none.wav", "holds no sound"),
            ("silent.wav", "is silent"),
            ("nan.wav", "holds NaN"),
            ("loud.wav", "holds samples of 3e+08"),
            ("folder.wav", "cannot be read: it is a folder, not a file"),
            ("pipe.wav", "cannot be read: it is a pipe, not a file"),
            ("/dev/zero", "cannot be read: it is a device, not a file"),
        )
    ),
    Case("reconstruct photo.png --keep-rate", 2, "modality 'image' does not restore the rate", "use --original-size"),
    Case("reconstruct --run audio tone.wav --original-size", 2, "does not restore the size", "use --keep-rate"),
    Case("reconstruct photo.png --keep-rate --original-size", 2, "--keep-rate is for sounds", "leave one of them out"),
    Case("reconstruct photo.png --format npz", 2, "arrays", "use .png"),
    Case("reconstruct --run audio tone.wav missing.wav", 1, "missing.wav does not exist"),
]

EVALUATE = [
    Case("evaluate --budget 3", 2, "--budget", "--budgets"),
    Case("evaluate --download=yes", 2, "'--download' does not take a value", "see anytime evaluate --help"),
    *(
        Case(f"evaluate --num '{value}'", 2, "'--num'", f"found '{value}'")
        for value in ("0", "1", "many", "", "1000000000001", "100000000000000000000")
    ),
    *(
        Case(f"evaluate --calls '{value}'", 2, f"calls '{shown}'", "use numbers such as 10, or all")
        for value, shown in (
            ("x", "x"),
            ("", ""),
            ("-1", "-1"),
            ("1.5", "1.5"),
            ("all,,10", ""),
            ("ALL", "ALL"),
            ("²", "²"),
        )
    ),
    Case("evaluate --calls 0", 2, "calls '0'", "use numbers such as 10, or all"),
    Case("evaluate --run agnostic --calls 3,0", 2, "calls '0'", "use numbers such as 10, or all"),
    Case("evaluate --seed -1", 2, "seed -1", "0..2^63-1"),
    Case("evaluate --seed x", 2, "found 'x'", "see anytime evaluate --help"),
    *(
        Case(f"evaluate --extractor '{value}'", 2, f"extractor '{value}'", "use a name, or name=FILE")
        for value in ("", "=x", "classifier=")
    ),
    Case("evaluate --extractor inseption", 2, "'inseption'", "did you mean 'inception'"),
    *(
        Case(f"evaluate --extractor {name}", 2, f"'{name}'", "has classifier, inception, efficientnet")
        for name in ("mel", "speaker", "Classifier1")
    ),
    Case("evaluate --extractor classifier=x", 2, "'classifier'", "leave out =x"),
    Case("evaluate --extractor efficientnet=x", 2, "'efficientnet'", "leave out =x"),
    Case("evaluate --extractor inception", 2, "'inception'", "pip install 'anytime-toolkit[inception]'"),
    Case("evaluate --extractor inception=missing.pth", 2, "'inception'", "pip install 'anytime-toolkit[inception]'"),
    Case("evaluate --extractor efficientnet", 2, "'efficientnet'", "pip install 'anytime-toolkit[efficientnet]'"),
    Case("evaluate --run audio --extractor inception", 2, "'inception'", "has classifier, mel, speaker, dnsmos"),
    Case("evaluate --run audio --extractor dnsmso", 2, "'dnsmso'", "did you mean 'dnsmos'"),
    Case("evaluate --run audio --extractor mel=x", 2, "'mel'", "leave out =x"),
    Case("evaluate --run audio --extractor speaker", 2, "'speaker'", "pip install 'anytime-toolkit[speaker]'"),
]

RECIPES = [
    Case("recipes show", 2, "'name'", "see anytime recipes show --help"),
    Case("recipes copy", 2, "'name'", "see anytime recipes copy --help"),
    *(
        Case(f"recipes {command} {name}", 2, f"'{name}'", way_out)
        for command in ("show", "copy")
        for name, way_out in (
            ("mnits", "did you mean 'mnist'"),
            ("image/mnits", "did you mean 'image/mnist'"),
            ("video/mnist", "did you mean 'image/mnist'"),
            ("../image/mnist", "see anytime recipes list"),
            ("Image/MNIST", "see anytime recipes list"),
            ("quick.yaml", "see anytime recipes list"),
            ("folder", "audio/folder or image/folder"),
        )
    ),
    Case("recipes show ''", 2, "no recipe ''", "see anytime recipes list"),
    Case("recipes show mnist image", 2, "(image)", "see anytime recipes show --help"),
    Case("recipes copy --force digits", 2, "--force", "see anytime recipes copy --help"),
    Case("recipes copy digits a.yaml b.yaml", 2, "(b.yaml)", "see anytime recipes copy --help"),
    *(Case(f"recipes copy digits {path}", 2, f"{path} exists", "another file") for path in ("quick.yaml", "empty")),
    Case("recipes copy digits notes.txt/mine.yaml", 1, "notes.txt/mine.yaml", "Not a directory"),
    Case("recipes copy digits missing/mine.yaml", 1, "missing/mine.yaml", "No such file"),
]

PLUGINS = [
    Case("plugins list --chekc", 2, "--chekc", "--check"),
    Case("plugins check", 2, "'name'", "see anytime plugins check --help"),
    Case("plugins check imge", 2, "'imge'", "did you mean 'image'"),
    Case("plugins check Image", 2, "'Image'", "did you mean 'image'"),
    Case("plugins check video", 2, "no plugin 'video'", "modalities are audio, image; priors are ardm, "),
    Case("plugins check ''", 2, "no plugin ''", "modalities are audio, image"),
    Case("plugins check transfomer", 2, "'transfomer'", "did you mean 'transformer'"),
    Case("plugins check image --kind prior", 2, "no prior 'image'", "choose transformer, made, "),
    Case("plugins check image --kind codec", 2, "'codec'", "see anytime plugins check --help"),
    Case("plugins check ardm --kind modality", 2, "no modality 'ardm'", "installed are audio, image"),
    Case("plugins check ardm --config digits", 2, "prior.kind 'transformer', not 'ardm'", "another --config"),
    Case("plugins check ardm --set prior.layers=0", 2, "prior.layers", "greater than or equal to 1"),
    Case("plugins check ardm --set prior.kind=transformer", 2, "prior.kind 'transformer', not 'ardm'"),
    Case("plugins check image audio", 2, "(audio)", "see anytime plugins check --help"),
    Case("plugins check image --config nope", 2, "'nope'", "see anytime recipes list"),
    Case("plugins check image --config missing.yaml", 2, "missing.yaml: No such file", "see anytime recipes list"),
    Case("plugins check image --config list.yaml", 2, "list.yaml is not a config", "'key: value' lines"),
    Case("plugins check image --config malformed.yaml", 2, "malformed.yaml is not valid YAML"),
    Case("plugins check image --config audio/plucks", 2, "of modality 'audio', not 'image'", "another --config"),
    Case("plugins check audio --config quick.yaml", 2, "of modality 'image', not 'audio'", "another --config"),
    Case("plugins check image --set modality=audio", 2, "of modality 'audio', not 'image'", "another --config"),
    *(
        Case(f"plugins check image --set {setting}", 2, names, way_out)
        for setting, names, way_out in (
            ("network.channels", "'network.channels'", "key.subkey=value"),
            ("network.chanels=8", "'network.chanels'", "did you mean 'network.channels'"),
            ("netwrok.channels=8", "'netwrok'", "did you mean 'network'"),
            ("network.channels=0", "network.channels", "greater than or equal to 1"),
            ("prior.layers=0", "prior.layers", "greater than or equal to 1"),
            ("loss=l3", "'l3'", "'mse' or 'l1'"),
            ("network.widths=[8,8,8,8]", "data.size=8", "choose data.size=16 or more"),
            ("nonsense=1", "'nonsense'", ""),
        )
    ),
    Case("plugins new", 2, "'name'", "see anytime plugins new --help"),
    *(
        Case(f"plugins new '{name}'", 2, f"name '{name}'", "such as motion or heart-beats")
        for name in ("Heart", "1x", "a b", "", "a--b", "../x", "heart_", "ä", "a.b")
    ),
    *(Case(f"plugins new {name}", 2, f"'{name}' is installed", "another name") for name in ("image", "audio")),
    *(
        Case(f"plugins new {name}", 2, f"name '{name}' is taken: {taken}", "choose another name")
        for name, taken in (
            ("core", "package anytime_core is installed already"),
            ("cli", "package anytime_cli is installed already"),
            ("toolkit", "distribution anytime-toolkit is installed already"),
            ("numpy", "'numpy' is a module"),
            ("signal", "'signal' is a module"),
            ("class", "'class' is a word of Python's own"),
            ("match", "'match' is a word of Python's own"),
        )
    ),
    Case("plugins new motion2 --kind codec", 2, "'codec'", "see anytime plugins new --help"),
    *(
        Case(f"plugins new {name} --kind prior", 2, f"'{name}' is installed", "another name")
        for name in ("transformer", "ardm")
    ),
    *(Case(f"plugins new motion2 --out {out}", 2, f"{out} exists", "--out") for out in ("empty", "notes.txt")),
    Case("plugins new motion2 --out notes.txt/below", 1, "cannot write to notes.txt/below", "choose another --out"),
    Case("plugins new motion2 extra", 2, "(extra)", "see anytime plugins new --help"),
    Case("plugins new motion2 --name x", 2, "--name", "see anytime plugins new --help"),
]

CASES = [
    *(*GLOBAL, *TRAIN, *CONFIG, *BUDGETS, *RUNS, *SAMPLE, *RECONSTRUCT, *EVALUATE, *RECIPES, *PLUGINS),
]


def listing(folder: Path) -> dict[str, tuple[int, int] | None]:
    """Every file below a folder with its size and when it was written, every folder with None."""
    found: dict[str, tuple[int, int] | None] = {}
    for root, folders, files in os.walk(folder):
        found |= {f"{root}/{name}": None for name in folders}
        for name in files:
            status = os.stat(f"{root}/{name}")
            found[f"{root}/{name}"] = (status.st_size, status.st_mtime_ns)
    return found


@pytest.fixture(scope="module")
def now(workshop: Path) -> list[dict[str, tuple[int, int] | None]]:
    """What is in the workshop now, as one item, so that each case lists it once only."""
    return [listing(workshop)]


@pytest.fixture(scope="module")
def once() -> dict[str, Any]:
    """What every call of the command line makes anew, and what takes most of its time."""
    return {
        "app": typer.main.get_command(app),
        "points": {group.name: entry_points._entry_points(group.name) for group in GROUPS.values()},
    }


@pytest.fixture
def bench(anytime: Anytime, workshop: Path, once: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Anytime:
    """`anytime` in the workshop, on a machine without a GPU, data sets and what extras install."""
    monkeypatch.chdir(workshop)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.delenv("ANYTIME_DATA", raising=False)
    monkeypatch.setattr(main, "app", once["app"])
    monkeypatch.setattr(entry_points, "_entry_points", lambda group: once["points"][group])
    for module in ("torch_fidelity.feature_extractor_inceptionv3", "efficientnet_lite_pytorch", "resemblyzer"):
        monkeypatch.setitem(sys.modules, module, None)
    return anytime


def error_of(result: Result) -> list[str]:
    """The lines of the error, which only says what is being trained and which files are left out before it."""
    lines = [line for line in result.err.splitlines() if line.strip()]
    starts = [index for index, line in enumerate(lines) if line.startswith("error: ")]
    assert len(starts) == 1, result.err
    said = lines[: starts[0]]
    assert all(line.startswith(("training ", "warning: ")) for line in said), result.err
    return lines[starts[0] :]


@pytest.mark.parametrize("case", CASES, ids=[case.arguments for case in CASES])
def test_malformed_input_is_named_with_the_way_out_and_changes_nothing(
    bench: Anytime, workshop: Path, now: list[Any], case: Case
):
    result = bench(*shlex.split(case.arguments))
    before, now[0] = now[0], listing(workshop)
    assert now[0] == before
    assert result.status == case.status, result.err
    assert result.out == ""
    error = error_of(result)
    assert len(error) <= 2, result.err
    assert max(map(len, error)) < 400
    text = "\n".join(error)
    assert "Traceback" not in text
    assert "this is a bug" not in text
    assert case.names in text
    assert case.way_out in text


def test_the_table_has_a_case_for_every_command_and_every_option():
    assert len({case.arguments for case in CASES}) == len(CASES) >= 300
    commands = dict(_commands(typer.main.get_command(app)))
    assert {"train", "runs show", "plugins new"} <= set(commands)
    for command, options in commands.items():
        own = [shlex.split(case.arguments) for case in CASES if f"{case.arguments} ".startswith(f"{command} ")]
        assert own, command
        for option in options:
            assert any(option in arguments for arguments in own), f"{command} {option}"


def _commands(command: Any, name: str = "") -> Iterator[tuple[str, list[str]]]:
    """Every command with those of its options that take a value."""
    if hasattr(command, "commands"):
        for child, below in command.commands.items():
            yield from _commands(below, f"{name} {child}".strip())
        return
    yield name, [one.opts[0] for one in command.params if one.param_type_name == "option" and not one.is_flag]


def test_all_mistakes_of_a_config_are_named_at_once(bench: Anytime, workshop: Path):
    before = listing(workshop)
    mistakes = ("--set", "network.chanels=8", "--set", "training.autoencoder.steps=0", "--set", "loss=l3")
    result = bench("train", "--config", "quick.yaml", *mistakes, "--device", "gpu")
    assert result.status == 2
    error = error_of(result)
    assert len(error) == 4
    for mistake in ("network.chanels", "training.autoencoder.steps", "loss", "training.device"):
        assert sum(mistake in line for line in error) == 1
    assert listing(workshop) == before
