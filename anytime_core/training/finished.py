"""Finished stages: whether they are whole, and a refusal to throw one away unless that is asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from anytime_core.config import Config
from anytime_core.config_parsing import parse_config
from anytime_core.display import shown
from anytime_core.errors import ConfigError, RunError, UsageError
from anytime_core.record import AUTOENCODER_FILE, PRIOR_FILE, RUN_FILE, STAGES, RunRecord, Stage
from anytime_core.run import load
from anytime_core.spelling import argument
from anytime_core.training.checkpoints import Checkpoint
from anytime_core.training.preparation import Preparation
from anytime_core.weights import AutoencoderMetadata, PriorMetadata, read_header

_RESULTS: Mapping[Stage, str] = {
    "autoencoder": AUTOENCODER_FILE,
    "codes": "codes/train.npy",
    "prior": PRIOR_FILE,
}
"""The main file of each stage. Without it, nothing of the stage is left that could be thrown away."""


def refuse_to_discard(training: Preparation, resumed: Checkpoint | None) -> None:
    """Raise UsageError if a training would throw away a finished stage, rather than train further steps of it.

    Args:
        training: the training, checked.
        resumed: the checkpoint from which its first stage is resumed, None for the start.
    """
    started, stage, run = training.started, training.stages[0], shown(training.folder)
    finished = started.stages if started is not None else {}
    discarded = [name for name in STAGES[STAGES.index(stage) :] if name in finished]
    if stage not in finished or not (training.folder / _result(stage, started)).exists():
        return
    if resumed is not None and not is_whole(training, resumed):
        return
    if stage == "codes":
        more = ""
    elif training.checkpoints(stage).has_any():
        setting = f"--set training.{stage}.steps=MORE"
        more = f"give it more steps with anytime train --resume {run} --stage {stage} {setting}, "
    else:
        more = "there is no checkpoint of it from which it could get more steps, so "
    raise UsageError(
        f"stage {stage} of run {run} is finished: {more}choose another {argument('run')}, or throw away what it "
        f"has of {' and '.join(discarded)} with {argument('force', True)}"
    )


def _result(stage: Stage, record: RunRecord | None) -> str:
    """The main file of a finished stage. Codes of a training that encodes online are of validation data only."""
    files = record.stages["codes"].files if record is not None and stage == "codes" else {}
    return "codes/validation.npy" if files and "train.npy" not in files else _RESULTS[stage]


def is_whole(training: Preparation, resumed: Checkpoint) -> bool:
    """Whether the first stage is finished, and its checkpoint has all steps that the config asks for."""
    settings, stage = training.config.core.training, training.stages[0]
    steps = {"autoencoder": settings.autoencoder.steps, "prior": settings.prior.steps}.get(stage, 0)
    finished = training.started is not None and stage in training.started.stages
    return finished and resumed.position.step >= steps


def refuse_other_config(folder: Path, record: RunRecord, config: Config, changed: Collection[str]) -> None:
    """Raise UsageError if a finished run is not what is asked for: nothing of it would be trained.

    Where the data lies, and how it is trained, may differ. But steps that are asked for must have been made.

    Args:
        folder: the run.
        record: its record.
        config: what is asked for.
        changed: the dotted keys that are set beside the config's own.
    """
    try:
        recorded = parse_config(record.config, type(config.modality))
    except ConfigError:  # of another version
        return
    asked, made = _values(config.to_dict()), _values(recorded.to_dict())
    names = [name for name in {**made, **asked} if name.partition(".")[0] not in ("training", "data")]
    names.sort(key=lambda name: not name.endswith("kind"))
    for name in names:
        if asked.get(name) != made.get(name):
            stage = "prior" if name.startswith("prior.") else "autoencoder"
            raise UsageError(
                f"run {shown(folder)} is finished with {name}={shown(str(made.get(name)))}, not "
                f"{shown(str(asked.get(name)))}: choose another {argument('run')}, or train it again with "
                f"{argument('stage', stage)} and {argument('force', True)}"
            )
    for stage in ("autoencoder", "prior"):
        name = f"training.{stage}.steps"
        if name in changed and asked[name] > made[name]:
            raise UsageError(
                f"run {shown(folder)} is finished with {name}={made[name]}, not {asked[name]}: give it more steps with "
                f"anytime train --resume {shown(folder)} --stage {stage} --set {name}={asked[name]}"
            )


def _values(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value, of everything in a config."""
    found: dict[str, Any] = {}
    for name, value in section.items():
        found |= _values(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def check_finished(folder: Path) -> None:
    """Raise RunError, naming the stage to repeat, unless the weights of a finished run are whole and belong to it."""
    record = load(folder, device="cpu").record
    autoencoder = read_header(folder / AUTOENCODER_FILE, AutoencoderMetadata)[1].autoencoder
    prior = read_header(folder / PRIOR_FILE, PriorMetadata)[1].prior
    for stage, trained in (("autoencoder", autoencoder), ("prior", prior)):
        try:
            # It is read as by this version, since a config of an earlier version lacks later settings.
            same = type(trained).model_validate(record.config.get(stage, {})) == trained
        except ValidationError:
            same = False
        if not same:
            raise RunError(
                f"{shown(folder / RUN_FILE)} describes another {stage} than there is: train it again with "
                f"anytime train --run {shown(folder)} --stage {stage} --force"
            )
