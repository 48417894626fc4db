"""Checks of what a modality says about itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from pydantic import BaseModel

from anytime_core.config import CoreConfig
from anytime_core.config_parsing import parse_config, parse_yaml
from anytime_core.discovery.blocks import without_blocks
from anytime_core.discovery.other_prior import check_priors
from anytime_core.discovery.quick import has_quick, quick_variant
from anytime_core.modality import API_VERSION
from anytime_core.testing.configs import check_fields, check_round_trip
from anytime_core.testing.modality.subject import Subject, check

_METHODS = (
    "sample_shape",
    "datasets",
    "encoder",
    "decoder",
    "reconstruction_loss",
    "metrics",
    "augment",
    "read",
    "write",
    "preview",
)


@check()
def metadata(subject: Subject, folder: Path) -> None:
    """The class has a name, a description, an api_version, the suffixes of its files, and every method."""
    cls = subject.modality
    assert isinstance(cls, type), f"the entry point names {cls!r}, which is not a class"
    name = getattr(cls, "name", None)
    assert isinstance(name, str), f"its name is {name!r}, not a string"
    assert re.fullmatch(r"[a-z][a-z0-9_-]*", name), f"its name is {name!r}: use a to z, 0 to 9, - and _"
    description = getattr(cls, "description", None)
    assert isinstance(description, str), f"its description is {description!r}, not a string"
    assert description.strip(), "its description is empty"
    assert "\n" not in description, f"its description is {description!r}, more than one line"
    version = getattr(cls, "api_version", None)
    assert version == API_VERSION, f"api_version is {version!r}, this toolkit needs {API_VERSION}"
    suffixes = getattr(cls, "suffixes", None)
    assert isinstance(suffixes, tuple), f"suffixes are {suffixes!r}, not a tuple"
    assert suffixes, "suffixes are empty: name at least one, such as .npy"
    wrong = [suffix for suffix in suffixes if not re.fullmatch(r"\.[a-z0-9.]+", str(suffix))]
    assert not wrong, f"suffixes {wrong} are not of the form .npy"
    missing = [method for method in _METHODS if not callable(getattr(cls, method, None))]
    assert not missing, f"it has no {', '.join(missing)}"


@check()
def config_fields_are_described(subject: Subject, folder: Path) -> None:
    """`Config` is a pydantic model that needs no arguments; every field has a default and a description."""
    config = subject.modality.Config
    assert isinstance(config, type), f"Config is {config!r}, not a class"
    assert issubclass(config, BaseModel), f"Config is {config!r}, not a pydantic model"
    taken = sorted(set(config.model_fields) & set(CoreConfig.model_fields))
    assert not taken, f"fields {taken} of Config are names of core's own sections"
    check_fields(config)


@check()
def config_survives_json_and_yaml(subject: Subject, folder: Path) -> None:
    """A config is the same after JSON and after YAML, and refuses keys that it does not know."""
    check_round_trip(subject.modality.Config, subject.config)


@check()
def recipes_are_valid(subject: Subject, folder: Path) -> None:
    """Every YAML file in the package's folder `recipes` is a config of this modality, described in its first line."""
    package = sys.modules[subject.modality.__module__.partition(".")[0]]
    folders = [Path(folder) for folder in getattr(package, "__path__", ())]
    for path in sorted(path for folder in folders for path in folder.glob("recipes/*.yaml")):
        text = path.read_text(encoding="utf-8")
        assert text.startswith("# "), f"recipe {path.name} does not begin with a line such as '# What it trains'"
        data = parse_yaml(text, path.name)
        variants = [without_blocks(data)]
        if has_quick(data, path.name):
            variants.append(quick_variant(data, path.name))
        for variant in variants:
            found = variant.get("modality", CoreConfig().modality)
            assert found == subject.modality.name, f"recipe {path.name} is of modality {found!r}"
            parse_config(variant, subject.modality.Config)
        check_priors(data, path.name, lambda values: parse_config(values, subject.modality.Config), None)


@check()
def importing_is_cheap(subject: Subject, folder: Path) -> None:
    """Importing the module of the entry point does not import torch, which can wait until it is used."""
    code = f"import sys, {subject.modality.__module__}; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        timeout=60,
    )
    assert done.returncode == 0, f"importing it in a new process fails: {done.stderr.strip()[-500:]}"
    printed = done.stdout.strip().splitlines()
    assert printed == ["False"], (
        "importing it imports torch: import what needs torch in methods, and for annotations under TYPE_CHECKING"
        if printed[-1:] == ["True"] and len(printed) == 1
        else f"importing it prints {done.stdout.strip()[:200]!r}"
    )
