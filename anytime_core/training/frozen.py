"""A prior on the autoencoder of another run: whose can be taken, what may change, and its files in the new run."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from anytime_core.config_differences import changed_values, flattened
from anytime_core.config_parsing import apply_overrides, overridden_key, parse_config, read_yaml
from anytime_core.data.files import PARTIAL_PREFIX, replacing
from anytime_core.discovery.plugins import load_modality
from anytime_core.discovery.resolve import Overrides, Source, Subject, as_changes, resolve, resolve_run
from anytime_core.display import listed, shown
from anytime_core.errors import ConfigError, RunError, UsageError
from anytime_core.in_training import in_training
from anytime_core.record import AUTOENCODER_FILE, CONFIG_FILE, STAGES, RunRecord, read_record
from anytime_core.relocation import location_keys
from anytime_core.spelling import argument
from anytime_core.training.codes import FILES as CODES
from anytime_core.training.codes import codes_digests
from anytime_core.weights import autoencoder_digest, check_recorded

_FROZEN = STAGES[:2]
_START = f"{PARTIAL_PREFIX}start"
"""A folder in a run folder whose first files are being written."""


def shareable(run: Path) -> RunRecord:
    """The record of a run whose autoencoder and codes another run may take.

    Raises:
        RunError: it is no run, has continuous codes, has not finished the two stages, or is mixed from two trainings.
    """
    record = read_record(run)
    if record.codebook_size is None:
        raise RunError(
            f"run {shown(run)} has continuous codes, which no prior learns: take a run with autoencoder.quantizer.kind "
            "vq or fsq"
        )
    for stage in _FROZEN:
        if stage in record.stages:
            continue
        if (training := in_training(run)) is not None:
            raise RunError(f"run {shown(run)} is in training: {training}; wait until stage codes is finished")
        raise RunError(
            f"run {shown(run)} has not finished stage {stage}: train it with anytime train --run {shown(run)} --stage "
            f"{stage}"
        )
    check_recorded(run, record, "autoencoder")
    return record


def check_place(folder: Path | None, started: RunRecord | None, run: Path, record: RunRecord) -> None:
    """Raise UsageError if a run folder is not for the autoencoder of `run`, whose record is `record`.

    Args:
        folder: the run folder; None: a new one.
        started: the record of the run that is there; None: there is none yet.
        run: the run whose autoencoder is asked for.
        record: its record.
    """
    if folder is None:
        return
    own, other = folder.resolve(), run.resolve()
    if own == other:
        raise UsageError(
            f"{argument('autoencoder', str(run))} names the run itself: train its prior with anytime train --run "
            f"{shown(run)} --stage prior"
        )
    if own.is_relative_to(other):
        raise UsageError(f"{shown(folder)} lies in run {shown(run)}: choose another {argument('run')}")
    if started is None:
        return
    if "autoencoder" not in started.stages or autoencoder_digest(folder, started) != autoencoder_digest(run, record):
        differ = "its autoencoder is not that"
    elif "codes" not in started.stages or _codes(folder, started) != _codes(run, record):
        differ = "its codes are not those"
    else:
        return
    raise UsageError(
        f"run {shown(folder)} exists, and {differ} of {shown(run)}: choose another {argument('run')}, or go on with it "
        f"without {argument('autoencoder')}"
    )


def _codes(run: Path, record: RunRecord) -> dict[str, str]:
    return codes_digests((run / CODES[0]).parent, record.stages["codes"].files)


def on_autoencoder_of(
    run: Path, record: RunRecord, source: Source, *, overrides: Overrides, modality: str | None
) -> Subject:
    """What to train: a prior on the autoencoder and the codes of a run.

    The config is that of the run, or `source`, whose values of the prior count; all else stays what the run was
    trained with. What the overrides say of where the data lies counts too.

    Raises:
        ConfigError: the autoencoder or the data would be others; or the config has mistakes.
    """
    found = (
        resolve_run(run, overrides=overrides)
        if source is None
        else resolve(source, overrides=overrides, modality=modality)
    )
    asked = found.config.core.modality if modality is None else modality
    sections = load_modality(record.modality).Config
    theirs = {name: value for name, value in read_yaml(run / CONFIG_FILE).items() if name != "prior"}
    own, new = parse_config(theirs, sections).to_dict(), found.config.to_dict()
    named = {overridden_key(change) for change in as_changes(overrides, None)}
    locations = location_keys(sections)
    refused = {
        key: value
        for key, value in changed_values(own, {**new, "modality": asked}).items()
        if value is not None and not _may_change(key, locations, named, source)  # null may stand for what was found
    }
    if refused:
        of_modality = {"modality": refused["modality"]} if "modality" in refused else refused
        said = listed([f"{key}={json.dumps(value)}" for key, value in of_modality.items()])
        raise ConfigError(
            f"{argument('autoencoder', str(run))} takes autoencoder and data of that run as they are, but the config "
            f"says {shown(said)}: leave that out, or train a new run without {argument('autoencoder')}"
        )
    kept = {
        "autoencoder": own["training"]["autoencoder"],
        "codes": _codes_training(own["training"]["codes"], new["training"]["codes"], named, run, record),
    }
    values = {**own, "prior": new["prior"], "seed": new["seed"], "training": {**new["training"], **kept}}
    moved = [(key, flattened(new)[key]) for key in locations if key in named]
    config = parse_config(apply_overrides(values, moved, sections), sections)
    return dataclasses.replace(
        found,
        config=config,
        baseline=record.baseline,
        quick=record.quick,
        has_quick=False,
        prior=config.core.prior.kind,
    )


_ONLINE = "training.codes.online"


def _codes_training(
    own: Mapping[str, Any], asked: Mapping[str, Any], named: Collection[str], run: Path, record: RunRecord
) -> dict[str, Any]:
    """How the codes of a run are used: as it was trained, or as the overrides say of `training.codes.online`."""
    if _ONLINE not in named or asked["online"] == own["online"]:
        return dict(own)
    if not asked["online"] and "train.npy" not in record.stages["codes"].files:
        raise ConfigError(
            f"{_ONLINE}=false needs codes of the training data in files, and run {shown(run)} was trained without: "
            "leave it out"
        )
    return {**own, "online": asked["online"], "copies": 1 if asked["online"] else own["copies"]}


def _may_change(key: str, locations: list[str], named: set[str], source: Source) -> bool:
    """Whether a value of the config may be another one than the run has. `named` are the keys that overrides change."""
    if key == _ONLINE or (_ONLINE in named and key == "training.codes.copies"):
        return True
    if key.startswith(("training.autoencoder.", "training.codes.")):
        return source is not None and key not in named  # a recipe may have been changed since
    return key in ("seed", *locations) or key.startswith(("prior.", "training."))


@contextlib.contextmanager
def beginning(folder: Path) -> Iterator[None]:
    """Mark a new run folder while its first files are written, the record last; after an error none of them is left."""
    mark = folder / _START
    mark.mkdir(exist_ok=True)
    _clear(folder)  # of a start that was killed
    try:
        yield
    except Exception:
        _clear(folder)
        mark.rmdir()
        raise
    mark.rmdir()


def _clear(folder: Path) -> None:
    for name in (AUTOENCODER_FILE, *CODES, CONFIG_FILE):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        (folder / CODES[0]).parent.rmdir()


def was_begun(folder: Path) -> bool:
    """Whether a training was killed while it wrote the first files of a run folder, which are then of no use."""
    return (folder / _START).is_dir()


def share_files(run: Path, folder: Path, record: RunRecord) -> None:
    """Give a run folder the autoencoder and the codes of a run: as further names of the same files, or as copies.

    Nothing ever writes into such a file: new ones take its place. So neither run can change the other.

    Args:
        run: the run that has them.
        folder: the new run folder.
        record: the record of `run` by which it was found good.

    Raises:
        RunError: the run has been trained again meanwhile.
    """
    (folder / CODES[0]).parent.mkdir(exist_ok=True)
    for name in (AUTOENCODER_FILE, *CODES):
        if (run / name).exists():
            _link_or_copy((run / name).resolve(), folder / name)
    now = read_record(run).finished
    if any(now.get(stage) != record.stages[stage] for stage in _FROZEN):
        raise RunError(f"run {shown(run)} is being trained again: wait until stage codes is finished")


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another disk, or a file system without links; what else is wrong, copying finds too
        # Not with shutil.copyfile, whose error of a full disk names the source.
        with replacing(target) as temporary, source.open("rb") as whole, temporary.open("wb") as copy:
            shutil.copyfileobj(whole, copy)
