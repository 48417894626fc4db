"""The record of a run folder, `run.json`: what was trained, how far it got, and its validation results."""

from __future__ import annotations

import datetime
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from anytime_core.data.files import PARTIAL_PREFIX, write_json
from anytime_core.data.reading import JSON_LIMIT, read_limited
from anytime_core.display import shown
from anytime_core.errors import MissingPluginError, RunError
from anytime_core.found import Found
from anytime_core.results import Codes, PluginRecord, Recorded, StageResult, Stages, Text
from anytime_core.section import MOST_CODES
from anytime_core.spelling import argument

FORMAT_VERSION = 2
"""Version of the run folder's layout. Runs of a newer version are refused, runs of an older one are read."""

Stage = Literal["autoencoder", "codes", "prior"]
STAGES: tuple[Stage, ...] = ("autoencoder", "codes", "prior")

RUN_FILE = "run.json"
CONFIG_FILE = "config.yaml"
AUTOENCODER_FILE = "autoencoder.safetensors"
PRIOR_FILE = "prior.safetensors"

_Versioned = TypeVar("_Versioned", bound=BaseModel)
_DEEPEST = 64
_LONGEST_PLACE = 200
_OTHER_RUN = "; see anytime runs list, or train another with anytime train"


class Change(Recorded):
    """A change of the config after the run was started.

    Attributes:
        at: when it was changed, as an ISO time.
        stages: the stages that were trained with it from then on.
        values: dotted key -> its new value.
    """

    at: Text
    stages: tuple[Stage, ...]
    values: dict[Text, Any]

    @field_validator("at")
    @classmethod
    def _is_a_time(cls, at: str) -> str:
        datetime.datetime.fromisoformat(at)
        return at


class AutoencoderOrigin(Recorded):
    """The run that trained the autoencoder and wrote the codes of another one.

    Attributes:
        run: its folder, as an absolute path; it may have moved since.
        created: when it was begun, as an ISO time.
    """

    run: Text
    created: Text


class RunRecord(Recorded):
    """The contents of `run.json`."""

    format_version: int = FORMAT_VERSION
    created: Text
    modality: Text
    plugin: PluginRecord
    recipe: Text | None
    baseline: Text | None = None
    quick: bool = False
    """Whether the config is the quick variant of the recipe, or was made from it."""
    seed: int
    code_length: Codes
    codebook_size: int | None = Field(ge=2, le=MOST_CODES)
    classes: tuple[str, ...]
    found: Found | None = None
    """The data of the autoencoder and the codes; None in runs of versions that did not record it."""
    autoencoder_of: AutoencoderOrigin | None = None
    """Whose the results of stages `autoencoder` and `codes` are; None: this run's own."""
    last_stage: Stage = "prior"
    """The last one that was asked for. A resumed training ends with it."""
    stages: Stages = Stages()
    libraries: dict[Text, Text]
    config: dict[str, Any]
    changes: tuple[Change, ...] = ()
    """What was changed since the run was begun, in order; `config` has all of it."""

    @field_validator("created")
    @classmethod
    def _is_a_time(cls, created: str) -> str:
        datetime.datetime.fromisoformat(created)
        return created

    @field_validator("config")
    @classmethod
    def _has_sections(cls, config: dict[str, Any]) -> dict[str, Any]:
        for name in ("autoencoder", "prior"):
            if not isinstance(config.get(name, {}), dict):
                raise ValueError(f"{name} is no section")
        return config

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        told: dict[Stage, int] = {}
        if (autoencoder := self.stages.get("autoencoder")) is not None:
            told["autoencoder"] = max(autoencoder.validation.codes, default=0)
        if (prior := self.stages.get("prior")) is not None:
            told["prior"] = len(prior.validation.bits_per_position)
        for stage, length in told.items():
            if length > self.code_length:
                raise ValueError(f"stage {stage} tells of more codes than the {self.code_length} there are")
        return self

    @property
    def finished(self) -> dict[Stage, StageResult]:
        """The stages that are finished, in order."""
        return {stage: self.stages[stage] for stage in STAGES if stage in self.stages}

    @property
    def prior_kind(self) -> str | None:
        """The kind of its prior, finished or not, of a missing plugin too; None if no prior was asked for."""
        asked = "prior" in self.stages or self.last_stage == "prior"
        return str(self.config.get("prior", {}).get("kind", "transformer")) if asked else None

    @property
    def missing_prior(self) -> str:
        """What to do if the kind of its prior is not installed, as the end of a message."""
        prior = self.stages.get("prior")
        plugin = prior.plugin if prior is not None else None
        return f"install {plugin or 'the distribution that has it'}, see anytime plugins list"

    def before(self, stage: Stage) -> Self:
        """The record without the results of `stage` and of the stages after it."""
        kept = {name: result for name, result in self.finished.items() if STAGES.index(name) < STAGES.index(stage)}
        own = {"autoencoder_of": None} if stage == "autoencoder" else {}
        return self.model_copy(update={"stages": kept, **own})

    def after(self, stage: Stage, result: StageResult, found: Found | None) -> Self:
        """The record with the result of `stage` as the last one, and with what was found in the data by then."""
        return self.model_copy(update={"stages": {**self.before(stage).stages, stage: result}, "found": found})

    def save(self, folder: Path) -> None:
        """Write `run.json` of a run folder."""
        write_json(folder / RUN_FILE, self.model_dump(mode="json"))


def read_record(folder: Path) -> RunRecord:
    """The record of a run folder.

    Raises:
        RunError: the folder is missing, not a run, damaged, or of a newer format, or a link in it leads out of it.
    """
    path = folder / RUN_FILE
    if not folder.is_dir():
        raise RunError(f"no run at {shown(folder)}{_OTHER_RUN}")
    try:
        if os.path.lexists(path):
            _refuse_leading_outside(folder)
        data = json.loads(read_limited(path, JSON_LIMIT))
        _check_plain(data)
    except FileNotFoundError:
        raise RunError(f"{shown(folder)} is not a run, as it has no {RUN_FILE}{_OTHER_RUN}") from None
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(f"{shown(path)} cannot be read: {reason}{_OTHER_RUN}") from error
    return validated(RunRecord, data, path, _OTHER_RUN)


def _check_plain(data: Any) -> None:
    """Raise ValueError if JSON cannot be written again: it is nested too deep, or has numbers that are not finite."""
    level = [data]
    for _ in range(_DEEPEST):
        if any(isinstance(value, float) and not math.isfinite(value) for value in level):
            raise ValueError("it holds a number that is not finite")
        inside = [
            value.values() if isinstance(value, dict) else value for value in level if isinstance(value, dict | list)
        ]
        level = [value for values in inside for value in values]
        if not level:
            return
    raise ValueError(f"it is nested deeper than {_DEEPEST} levels")


def _refuse_leading_outside(folder: Path) -> None:
    """Raise RunError for a link that leads out of a run folder, and for anything that is neither file nor folder.

    The run may come from somebody else. Reading through such a link would show files outside of the run, and writing
    would change them. The folder itself may be a link. Outputs below `samples/` are not checked, as nothing reads them.
    """
    inside = folder.resolve()
    for entry in _entries(folder):
        if entry.is_symlink():
            target = Path(os.path.realpath(entry.path))
            if not target.is_relative_to(inside):
                raise RunError(
                    f"{shown(entry.path)} is a link that leads out of the run, to {shown(target)}: put the file itself "
                    "in its place if you trust it, or remove the link"
                )
        elif not (entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False)):
            raise RunError(f"{shown(entry.path)} is neither a file nor a folder, as everything in a run is: remove it")


def _entries(folder: Path, levels: int = 2) -> Iterator[os.DirEntry[str]]:
    """The entries of a folder, of its folders, and of the folders in it that are being written."""
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry
            if entry.is_dir(follow_symlinks=False) and (levels > 1 or entry.name.startswith(PARTIAL_PREFIX)):
                yield from _entries(Path(entry.path), levels - 1)


def list_runs(root: Path) -> list[Path]:
    """The run folders directly below `root`, the latest last."""
    folders = [path.parent for path in root.glob(f"*/{RUN_FILE}")]
    return sorted(folders, key=lambda folder: ((folder / RUN_FILE).stat().st_mtime_ns, folder.name))


def latest_run(root: Path, name: str = "run") -> Path:
    """The run below `root` that was written last.

    Args:
        root: the folder of runs.
        name: the argument in Python that names a run.

    Raises:
        RunError: there is none.
    """
    runs = list_runs(root)
    if not runs:
        raise RunError(
            f"no run in {root}: train one with anytime train, or name one with {argument(name, 'DIR', option='run')}"
        )
    return runs[-1]


def validated(model: type[_Versioned], data: Any, path: Path, way_out: str) -> _Versioned:
    """`data` read from `path` as a `model`.

    Args:
        model: what it should be.
        data: the data from JSON.
        path: the file, for messages.
        way_out: the end of messages, such as `; train another`; may be empty.

    Raises:
        RunError: it is damaged, of a newer format, or of a plugin that is not installed.
    """
    version = data.get("format_version") if isinstance(data, dict) else None
    if not isinstance(version, int) or version < 1:
        raise RunError(f"{shown(path)} is damaged: it has no format_version{way_out}")
    if version > FORMAT_VERSION:
        raise RunError(
            f"{shown(path)} has format {version}, newer than the {FORMAT_VERSION} this version reads: "
            "update with pip install --upgrade anytime-toolkit"
        )
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "unknown_kind" and first["ctx"]["plugins"]:
            raise MissingPluginError(f"{shown(path)} needs a plugin: {first['ctx']['absent']} is installed") from error
        place = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        what = ": ".join(filter(None, (shown(place)[:_LONGEST_PLACE], what[:1].lower() + what[1:])))
        raise RunError(f"{shown(path)} is damaged: {what}{way_out}") from error
