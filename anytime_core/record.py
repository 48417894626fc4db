"""The record of a run folder, `run.json`: what was trained, how far it got, and what validation said."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator

from anytime_core.errors import RunError
from anytime_core.files import JSON_LIMIT, PARTIAL_PREFIX, read_limited, write_json
from anytime_core.found import Found

FORMAT_VERSION = 1
"""Version of the run folder's layout. Runs of a newer one are refused, those of an older one are read."""

Stage = Literal["autoencoder", "codes", "prior"]
STAGES: tuple[Stage, ...] = ("autoencoder", "codes", "prior")

RUN_FILE = "run.json"
CONFIG_FILE = "config.yaml"

_Versioned = TypeVar("_Versioned", bound=BaseModel)
_OTHER_RUN = "see anytime runs list, or train another with anytime train"


class StageRecord(BaseModel):
    """A finished stage: its cost and what validation said."""

    steps: int
    seconds: float
    validation: dict[str, Any] = Field(default_factory=dict)


class RunRecord(BaseModel):
    """What `run.json` says."""

    format_version: int = FORMAT_VERSION
    created: str
    modality: str
    plugin: dict[str, str]
    recipe: str | None
    baseline: str | None = None
    seed: int
    code_length: int
    codebook_size: int | None
    classes: tuple[str, ...]
    found: Found | None = None
    """The data that the autoencoder and the codes were made of; None in runs of versions that did not say."""
    last_stage: Stage = "prior"
    """The last one that was asked for, with which a training that is gone on with ends."""
    stages: dict[Stage, StageRecord] = Field(default_factory=dict)
    libraries: dict[str, str]
    config: dict[str, Any]

    @field_validator("plugin")
    @classmethod
    def _says_where_the_plugin_is_from(cls, plugin: dict[str, str]) -> dict[str, str]:
        if missing := {"distribution", "version"} - plugin.keys():
            raise ValueError(f"{' and '.join(sorted(missing))} missing")
        return plugin

    def save(self, folder: Path) -> None:
        """Write `run.json` of a run folder."""
        write_json(folder / RUN_FILE, self.model_dump(mode="json"))


def read_record(folder: Path) -> RunRecord:
    """The record of a run folder.

    Raises:
        RunError: the folder is missing, no run, damaged, or of a newer format, or something in it leads out of it.
    """
    path = folder / RUN_FILE
    if not folder.is_dir():
        raise RunError(f"no run at {folder}; {_OTHER_RUN}")
    try:
        if os.path.lexists(path):
            _refuse_leading_outside(folder)
        data = json.loads(read_limited(path, JSON_LIMIT))
    except FileNotFoundError:
        raise RunError(f"{folder} is not a run, as it has no {RUN_FILE}; {_OTHER_RUN}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read: {error}; {_OTHER_RUN}") from error
    return validated(RunRecord, data, path, _OTHER_RUN)


def _refuse_leading_outside(folder: Path) -> None:
    """Raise RunError for a link out of a run folder, which may be somebody else's, and for what is no file at all.

    Reading through such a link would show, and writing through it change, files that are no part of the run. The folder
    itself may be a link, and what is in an output below `samples/` is never read back.
    """
    inside = folder.resolve()
    for entry in _entries(folder):
        if entry.is_symlink():
            target = Path(os.path.realpath(entry.path))
            if not target.is_relative_to(inside):
                raise RunError(
                    f"{entry.path} is a link that leads out of the run, to {target}: put the file itself in its place "
                    "if you trust it, or remove the link"
                )
        elif not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
            raise RunError(f"{entry.path} is neither a file nor a folder, as everything in a run is: remove it")


def _entries(folder: Path, levels: int = 2) -> Iterator[os.DirEntry[str]]:
    """What is in a folder and in its folders, and in those that are being written."""
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False) and (levels > 1 or entry.name.startswith(PARTIAL_PREFIX)):
                yield from _entries(Path(entry.path), levels - 1)


def list_runs(root: Path) -> list[Path]:
    """Run folders directly below `root`, the latest last."""
    folders = [path.parent for path in root.glob(f"*/{RUN_FILE}")]
    return sorted(folders, key=lambda folder: ((folder / RUN_FILE).stat().st_mtime_ns, folder.name))


def latest_run(root: Path) -> Path:
    """The run below `root` that was written last. Raises RunError where there is none."""
    runs = list_runs(root)
    if not runs:
        raise RunError(f"no run in {root}: train one with anytime train, or name one with --run DIR")
    return runs[-1]


def validated(model: type[_Versioned], data: Any, path: Path, way_out: str) -> _Versioned:
    """`data` read from `path` as a `model`. Raises RunError where it is damaged or of a newer format."""
    version = data.get("format_version") if isinstance(data, dict) else None
    if not isinstance(version, int):
        raise RunError(f"{path} is damaged: it has no format_version; {way_out}")
    if version > FORMAT_VERSION:
        raise RunError(
            f"{path} has format {version}, newer than the {FORMAT_VERSION} this version reads: "
            "update with pip install --upgrade anytime-toolkit"
        )
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RunError(f"{path} is damaged: {place}: {first['msg'].lower()}; {way_out}") from error
