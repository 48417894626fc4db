"""Training a run: its stages in order, by one writer, from the start or from a checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from anytime_core.config import Config
from anytime_core.distributed import rank
from anytime_core.errors import InterruptedTrainingError, RunError
from anytime_core.files import locked, naming
from anytime_core.record import STAGES, RunRecord, Stage, StageRecord
from anytime_core.training.interruption import Interruption
from anytime_core.training.log import MetricsLog, OnProgress, ignore_progress
from anytime_core.training.preparation import LOCK, Preparation
from anytime_core.training.stages import run_stage


def train(
    config: Config,
    folder: Path,
    *,
    stages: Sequence[Stage] = STAGES,
    recipe: str | None = None,
    baseline: str | None = None,
    on_progress: OnProgress = ignore_progress,
    resume: bool = False,
) -> RunRecord:
    """Train the given stages of a run, in order.

    Nothing is written before configuration, device and data have been found good. Checkpoints are written every
    `training.checkpoint_minutes` and at the end of stages, of which the last two are kept. Processes that torchrun or
    accelerate started train one run together; a process group that they have formed is used and left to them.

    Args:
        config: what to train.
        folder: the run folder; made where it is missing, gone on with where it is a run.
        stages: any of `STAGES`; those that come before them must have ended.
        recipe: name of the recipe that `config` came from, for the record; a run that is gone on with keeps its own
            where neither this nor `baseline` is given.
        baseline: name of the baseline that `config` was made of the recipe by, for the record.
        on_progress: called after every step.
        resume: go on with the first of `stages` from its last checkpoint, where there is one. On the CPU the result
            is that of a training that was never stopped, bit by bit.

    Returns:
        The record, with every finished stage.

    Raises:
        InterruptedTrainingError: Ctrl-C or SIGTERM came; there is a checkpoint.
        AnytimeError: of the kind that says what is wrong; finished stages and checkpoints stay.
    """
    training = Preparation(config, folder, on_progress)
    with Interruption() as interruption, training.environment(), _only_writer(folder):
        training.check(stages)
        resumed = training.checkpoints(stages[0]).latest() if resume else None
        training.accelerator.wait_for_everyone()  # before the first of them writes what the others look at
        record = training.open(recipe, baseline)
        with MetricsLog(folder) as log:
            for stage in stages:
                # From here on, an older result of this stage and what later stages made of it no longer count.
                kept = {name: record.stages[name] for name in STAGES[: STAGES.index(stage)] if name in record.stages}
                record = record.model_copy(update={"stages": kept})
                training.save(record)
                surroundings = training.surroundings(stage, log, interruption, resumed)
                steps, validation = run_stage(stage, training, surroundings)
                stage_record = StageRecord(steps=steps, seconds=surroundings.seconds, validation=validation)
                record = record.model_copy(update={"stages": {**kept, stage: stage_record}})
                training.save(record)
                training.accelerator.wait_for_everyone()
                resumed = None
                signal = interruption.agreed(training.accelerator.device)
                if signal and stage != stages[-1]:
                    raise InterruptedTrainingError(
                        f"stopped after stage {stage}: go on with anytime train --resume {folder}", signal
                    )
    return record


@contextlib.contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Keep other trainings out of the run folder; the first of several processes does it for all."""
    with contextlib.ExitStack() as stack:
        if rank() == 0 and (folder.is_dir() or not folder.exists()):
            try:
                stack.enter_context(locked(folder, LOCK, f"training {folder}"))
            except OSError as error:
                raise RunError(f"cannot make run folder {folder}: {error.strerror}; choose another --run") from error
        stack.enter_context(naming(folder))
        yield


def new_run_folder(root: Path, name: str) -> Path:
    """The first of `root/name-1`, `root/name-2`, ... that does not exist."""
    number = 1
    while (root / f"{name}-{number}").exists():
        number += 1
    return root / f"{name}-{number}"
