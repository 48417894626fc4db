"""Looking after run folders: measuring, removing, renaming, pruning and comparing them.

Nothing here follows a link out of a run, touches a folder that is no run, or removes anything from a run in use.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anytime_core.config_differences import flattened
from anytime_core.data.files import PARTIAL_PREFIX, holder_of, locked
from anytime_core.data.reading import JSON_LIMIT, read_limited
from anytime_core.data_space import BITS, NATS
from anytime_core.display import listed, shown
from anytime_core.errors import RunError, UsageError
from anytime_core.in_training import LOCK, in_training
from anytime_core.record import (
    AUTOENCODER_FILE,
    CONFIG_FILE,
    PRIOR_FILE,
    RUN_FILE,
    STAGES,
    RunRecord,
    Stage,
    read_record,
)

_ENTRIES = frozenset(
    {RUN_FILE, CONFIG_FILE, AUTOENCODER_FILE, PRIOR_FILE, "metrics.jsonl", "costs.json"}
    | {"checkpoints", "codes", "previews", "tensorboard", "evaluation", "samples", "reconstructions"}
)
"""The entries of a run folder, see docs/architecture.md."""
_CHECKPOINT = re.compile(rf"({'|'.join(STAGES)})-(\d+)\.safetensors")
_PREVIEW = re.compile(r"autoencoder-(\d+)\.png")


@dataclass(frozen=True)
class Size:
    """A number of files, and of the bytes in them."""

    files: int = 0
    bytes: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.files + other.files, self.bytes + other.bytes)


def size_of(folder: Path) -> Size:
    """The size of everything in a folder; a link counts itself, not its target."""
    size = Size()
    for root, _, names in os.walk(folder):
        for name in names:
            size += Size(1, os.lstat(os.path.join(root, name)).st_size)
    return size


def stopped_at(folder: Path, record: RunRecord) -> str | None:
    """Where a training stopped within a stage, such as `stage prior stopped at step 20`; None if it did not."""
    stage = next((stage for stage in STAGES if stage not in record.stages), None)
    steps = checkpoint_steps(folder, stage) if stage is not None else []
    return f"stage {stage} stopped at step {max(steps):,}" if steps else None


def checkpoint_steps(folder: Path, stage: Stage) -> list[int]:
    """The steps at which a run has checkpoints of a stage."""
    matches = [_CHECKPOINT.fullmatch(path.name) for path in _files(folder / "checkpoints")]
    return [int(match[2]) for match in matches if match and match[1] == stage]


def check_removable(folder: Path) -> None:
    """Raise RunError for what is no run, only a link to one, or in use."""
    if folder.is_symlink():
        raise RunError(f"{shown(folder)} is a link to {shown(os.path.realpath(folder))}: name the run itself")
    path = folder / RUN_FILE
    try:
        data = json.loads(read_limited(path, JSON_LIMIT)) if not path.is_symlink() else None
    except FileNotFoundError:
        raise RunError(f"{shown(folder)} is not a run, as it has no {RUN_FILE}: see anytime runs list") from None
    except (OSError, ValueError, RecursionError):
        data = None
    if not isinstance(data, dict) or "format_version" not in data:
        raise RunError(f"{shown(path)} is not that of a run: if you are sure of {shown(folder)}, remove it yourself")
    if (training := in_training(folder)) is not None:
        raise RunError(f"run {shown(folder)} is in training: {training}; stop it first")
    if holder_of(folder / "evaluation", "evaluation") is not None:
        raise RunError(f"run {shown(folder)} is being evaluated: wait for it, or stop it first")
    for lock in folder.glob(f"*/{PARTIAL_PREFIX}*.lock"):
        if holder_of(lock.parent, lock.name.removesuffix(".lock").removeprefix(".")) is not None:
            raise RunError(f"files are being written to {shown(lock.parent)}: wait for it, or stop it first")


def _is_of_a_run(name: str) -> bool:
    """Whether a run folder may have an entry of this name. A run within a run is not part of it."""
    return name in _ENTRIES or name.startswith((f".{LOCK}.", PARTIAL_PREFIX))


def remove_run(folder: Path) -> None:
    """Remove a run with everything in its folder; links are removed, not their targets.

    Raises:
        RunError: it is no run, or in use.
    """
    check_removable(folder)
    folder = Path(os.path.abspath(folder))
    if foreign := sorted(entry.name for entry in os.scandir(folder) if not _is_of_a_run(entry.name)):
        raise RunError(f"{shown(folder)} holds files that no training wrote, {listed(foreign)}: move them away first")
    with locked(folder, LOCK, f"training {folder}"):
        # The record goes last, so that a removal that was killed can be repeated.
        for entry in list(os.scandir(folder)):
            if entry.name in (RUN_FILE, f".{LOCK}.lock", f".{LOCK}.holder"):
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
        (folder / RUN_FILE).unlink()
    folder.rmdir()


def rename_run(folder: Path, name: str) -> Path:
    """Give a run folder another name in the same parent folder; returns its new path.

    Raises:
        UsageError: `name` is not one name, or is taken.
        RunError: there is no run, or it is in use.
    """
    check_removable(folder)
    folder = Path(os.path.abspath(folder))
    if not name.isprintable() or not name.strip():
        raise UsageError(f"'{shown(name)}' is not a name that can be typed: give one name of letters and digits")
    if name in ("", ".", "..") or Path(name).name != name:
        raise UsageError(f"'{shown(name)}' is not the name of a folder: give one name, which stays in {folder.parent}")
    target = folder.with_name(name)
    if os.path.lexists(target):
        raise UsageError(f"{shown(target)} exists: choose another name")
    folder.rename(target)
    return target


@dataclass(frozen=True)
class Pruned:
    """What was removed from a run, or would be.

    Attributes:
        checkpoints: checkpoints of finished stages, from which more steps could have been trained.
        previews: all previews of the autoencoder but the last.
    """

    checkpoints: Size
    previews: Size


def prune_run(folder: Path, *, dry_run: bool = False) -> Pruned:
    """Remove what finished stages leave behind and neither sampling nor evaluation needs.

    Args:
        folder: the run folder.
        dry_run: only measure, and remove nothing.

    Raises:
        RunError: it is no run, or in use.
    """
    check_removable(folder)
    record = read_record(folder)
    checkpoints = [
        path
        for path in _files(folder / "checkpoints")
        if (match := _CHECKPOINT.fullmatch(path.name)) and match[1] in record.stages
    ]
    previews = sorted(
        (path for path in _files(folder / "previews") if _PREVIEW.fullmatch(path.name)),
        key=lambda path: int(path.stem.rpartition("-")[2]),
    )[:-1]
    pruned = Pruned(_total(checkpoints), _total(previews))
    if not dry_run:
        with locked(folder, LOCK, f"training {folder}"):
            for path in (*checkpoints, *previews):
                path.unlink()
    return pruned


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*") if path.is_file() and not path.is_symlink()]


def _total(paths: list[Path]) -> Size:
    return Size(len(paths), sum(path.stat().st_size for path in paths))


@dataclass(frozen=True)
class Comparison:
    """Two runs side by side. Each pair has the value of the first run first; None if a run has no such value.

    Attributes:
        config: dotted key -> its two values, if they differ.
        results: name of a result -> its two values.
        same_data: whether both saw the same data; None if a run does not record it.
    """

    config: dict[str, tuple[Any, Any]]
    results: dict[str, tuple[Any, Any]]
    same_data: bool | None


def compare_runs(first: Path, second: Path) -> Comparison:
    """How two runs were made, and how good they are. Raises RunError if one is not a run."""
    records = read_record(first), read_record(second)
    configs = [flattened(record.config) for record in records]
    config = {
        key: (configs[0].get(key), configs[1].get(key))
        for key in dict.fromkeys([*configs[0], *configs[1]])
        if configs[0].get(key) != configs[1].get(key)
    }
    # Losses with different settings are on different scales.
    same_loss = not any(key.partition(".")[0] == "loss" for key in config)
    results = [_results(record, _common_lengths(*records), with_loss=same_loss) for record in records]
    digests = [record.found.digest if record.found is not None else "" for record in records]
    return Comparison(
        config=config,
        results={
            name: (results[0].get(name), results[1].get(name)) for name in dict.fromkeys([*results[0], *results[1]])
        },
        same_data=digests[0] == digests[1] if all(digests) else None,
    )


def _results(record: RunRecord, lengths: list[int], *, with_loss: bool) -> dict[str, Any]:
    results: dict[str, Any] = {"code length": record.code_length, "codebook size": record.codebook_size}
    for stage, done in record.finished.items():
        results |= {f"steps of {stage}": done.steps, f"seconds of {stage}": done.seconds}
    if (autoencoder := record.stages.get("autoencoder")) is not None:
        validation = autoencoder.validation
        results["codebook use"] = validation.codebook_use
        for measure, values in validation.reconstruction.items():
            by_length = dict(zip(validation.codes, values, strict=True))
            if with_loss or measure != "loss":
                results |= {f"{measure} at {length} codes": by_length[length] for length in lengths}
    if (prior := record.stages.get("prior")) is not None:
        needed = prior.validation
        results["bits per code"] = needed.bits_per_code
        of_values = {NATS: needed.nats_per_sample, BITS: needed.bits_per_dimension}
        results |= {unit: value for unit, value in of_values.items() if value is not None}
    return results


def _common_lengths(*records: RunRecord) -> list[int]:
    """Up to three lengths at which both were validated: about a quarter, half, and all of the shorter code."""
    found = [
        set(stage.validation.codes) if (stage := record.stages.get("autoencoder")) is not None else set()
        for record in records
    ]
    common = found[0] & found[1]
    if not common:
        return []
    most = max(common)
    return sorted({min(common, key=lambda length: abs(length - share * most)) for share in (0.25, 0.5, 1.0)})
