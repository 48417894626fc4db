"""Checkpoints of a run that is being trained: `checkpoints/<stage>-<step>.safetensors`. The last two are kept.

A checkpoint is one file, written whole or not at all. Weights and averages of the model, the state of the optimiser and
random states are tensors; everything else is JSON in the file's metadata. Nothing in it is a pickle. The order of the
data and the learning rate follow from the step.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field
from torch import Tensor

from anytime_core.display import shown
from anytime_core.errors import RunError, UsageError
from anytime_core.record import FORMAT_VERSION, STAGES, Stage
from anytime_core.results import Finite
from anytime_core.weights import read_weights, write_weights

logger = logging.getLogger(__name__)

FOLDER = "checkpoints"

_KEPT = 2
_NAME = re.compile(rf"({'|'.join(STAGES)})-(\d+)\.safetensors")


class Position(BaseModel):
    """How far a stage got when a checkpoint was written.

    Attributes:
        stage: the stage.
        step: the number of steps done.
        seconds: the time that they took.
        best: the smallest validation result so far, None before the first.
        scaler: the state of the gradient scaler of float16.
        config: the sections in which checkpoint and config must agree.
    """

    format_version: int = FORMAT_VERSION
    stage: Stage
    step: int = Field(ge=1)
    seconds: Finite = Field(0.0, ge=0)
    best: Finite | None = None
    scaler: dict[str, Finite] | None = None
    config: dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """The state from which a stage is resumed."""

    position: Position
    state: dict[str, Tensor]


class Checkpoints:
    """The checkpoints of one stage of a run.

    Args:
        run: the run folder.
        stage: the stage.
        config: the sections of the config that decide what the stage computes; a checkpoint with others is refused.
        every: seconds between two checkpoints.
        steps: the number of steps of the stage; None if it follows from the data.

    Attributes:
        last_step: the step of the checkpoint that was written or read last, None before.
    """

    def __init__(
        self, run: Path, stage: Stage, config: Mapping[str, Any], every: float, steps: int | None = None
    ) -> None:
        self.run, self.stage, self.config, self.every, self.steps = run, stage, dict(config), every, steps
        self.last_step: int | None = None
        self._written = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time for the next checkpoint."""
        return time.monotonic() - self._written >= self.every

    def write(self, position: Position, state: Mapping[str, Tensor]) -> None:
        """Write a checkpoint, and remove those before the last two."""
        path = self.run / FOLDER / f"{self.stage}-{position.step:08d}.safetensors"
        path.parent.mkdir(exist_ok=True)
        write_weights(path, state, position)
        for _, old in _listed(self.run)[:-_KEPT]:
            old.unlink(missing_ok=True)
        self.last_step, self._written = position.step, time.monotonic()

    def has_any(self) -> bool:
        """Whether the stage has a checkpoint, whole or not."""
        return any(stage == self.stage for stage, _ in _listed(self.run))

    def latest(self) -> Checkpoint | None:
        """The last checkpoint of the stage that is whole, None if the stage has no checkpoint.

        Raises:
            UsageError: it is of another config.
            RunError: there are checkpoints, but none is whole.
        """
        paths = [path for stage, path in _listed(self.run) if stage == self.stage]
        problem = None
        for path in reversed(paths):
            try:
                state, position = read_weights(path, Position)
                self._require_own(path, position)
            except RunError as error:
                problem = problem or error
                continue
            if problem is not None:
                logger.warning("%s; going on with %s", problem, path)
            self._check(position, path)
            self.last_step = position.step
            return Checkpoint(position, state)
        if problem is not None:
            raise RunError(
                f"{problem}; start the stage again with anytime train --run {shown(self.run)} --stage {self.stage} "
                "--force"
            ) from problem
        return None

    def _require_own(self, path: Path, position: Position) -> None:
        """Raise RunError if a checkpoint is not what its name says, or is beyond the end of the stage."""
        named = int(path.stem.rpartition("-")[2])
        if (position.stage, position.step) != (self.stage, named):
            raise RunError(f"{shown(path)} is damaged: it is of step {position.step} of stage {position.stage}")
        if self.steps is not None and position.step > self.steps:
            raise RunError(
                f"{shown(path)} is beyond the {self.steps} steps of the stage: raise training.{self.stage}.steps"
            )

    def _check(self, position: Position, path: Path) -> None:
        for section, value in self.config.items():
            if position.config.get(section) != value:
                raise UsageError(
                    f"{shown(path)} is of another config, {section} has changed: leave it as it was, or start the "
                    f"stage again with anytime train --run {shown(self.run)} --stage {self.stage} --force"
                )


def remove_checkpoints(run: Path, stage: Stage) -> None:
    """Remove the checkpoints of `stage` and of the stages after it."""
    for other, path in _listed(run):
        if STAGES.index(other) >= STAGES.index(stage):
            path.unlink(missing_ok=True)


def _listed(run: Path) -> list[tuple[Stage, Path]]:
    """The checkpoints of a run with their stages, the latest last."""
    found = [(match, path) for path in (run / FOLDER).glob("*") if (match := _NAME.fullmatch(path.name))]
    stages: dict[str, Stage] = {stage: stage for stage in STAGES}
    ordered = sorted(found, key=lambda pair: (STAGES.index(stages[pair[0][1]]), int(pair[0][2])))
    return [(stages[match[1]], path) for match, path in ordered]
