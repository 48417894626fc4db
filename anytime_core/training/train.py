"""Training a run: its stages in order, by one writer, from the start or from a checkpoint."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from anytime_core.config import Config
from anytime_core.data.files import locked, naming
from anytime_core.display import shown
from anytime_core.distributed import rank
from anytime_core.errors import InterruptedTrainingError, RunError, system_reason
from anytime_core.exhaustion import explained
from anytime_core.in_training import LOCK, telling_status
from anytime_core.priors.blame import blaming
from anytime_core.record import STAGES, RunRecord, Stage
from anytime_core.spelling import argument
from anytime_core.training.checkpoints import Checkpoint
from anytime_core.training.checks import check
from anytime_core.training.collapse import refuse_collapsed
from anytime_core.training.finished import is_whole, refuse_to_discard
from anytime_core.training.forecast import Forecaster
from anytime_core.training.interruption import Interruption
from anytime_core.training.log import MetricsLog, OnProgress, Progress, ignore_progress
from anytime_core.training.opening import opened
from anytime_core.training.outline import Outline, outlined
from anytime_core.training.preparation import Preparation
from anytime_core.training.same_data import checked_against_data
from anytime_core.training.stages import run_stage


def train_stages(
    config: Config,
    folder: Path,
    *,
    stages: Sequence[Stage] = STAGES,
    recipe: str | None = None,
    baseline: str | None = None,
    quick: bool = False,
    autoencoder: Path | None = None,
    on_ready: Callable[[Outline], None] = lambda outline: None,
    on_progress: OnProgress = ignore_progress,
    resume: bool = False,
    force: bool = False,
) -> RunRecord:
    """Train the given stages of a run, in order.

    Nothing is written before configuration, device and data are checked. Checkpoints are written every
    `training.checkpoint_minutes` and at the end of each stage; the last two are kept. Processes that torchrun or
    accelerate started train one run together. If they have formed a process group, it is used and left as it is.

    Args:
        config: what to train.
        folder: the run folder. It is made if it is missing; an existing run is trained further.
        stages: any of `STAGES`; those that come before them must have ended.
        recipe: the name of the recipe that `config` came from, for the record. An existing run keeps its own if
            neither this nor `baseline` is given.
        baseline: the name of the baseline that was made of the recipe, for the record.
        quick: whether `config` came from the quick variant of the recipe, for the record.
        autoencoder: the run whose autoencoder and codes a new run takes; None: it makes its own.
        on_ready: called with what the training will do if all is found good, before the first file is written.
        on_progress: called after every step.
        resume: whether to resume the first of `stages` from its last checkpoint, if there is one. On the CPU the
            result is that of a training that was never stopped, bit by bit.
        force: whether to go on with data that are not those of the run, and with an autoencoder that ignores its
            input, and to throw away finished stages that are trained again.

    Returns:
        The record, with every finished stage.

    Raises:
        InterruptedTrainingError: Ctrl-C or SIGTERM came; there is a checkpoint.
        RunError: the autoencoder ignores its input, so a prior would learn nothing.
        UsageError: a finished stage would be trained again.
        DataError: the data is missing, or is not the data that the run was started with.
        AnytimeError: anything else is wrong. Finished stages and checkpoints stay.
    """
    training = Preparation(config, folder, stages, on_progress, autoencoder)
    forecaster = Forecaster(training)
    with (
        blaming(config.core.prior.kind),
        Interruption() as interruption,
        training.environment(),
        _only_writer(folder),
        telling_status(folder, os.getpid()) as status,
    ):

        def tell(progress: Progress) -> None:
            status.tell(progress.stage, progress.step, progress.steps)
            on_progress(progress if on_progress is ignore_progress else forecaster.completed(progress))

        training.on_progress = tell
        resumed = _found_good(training, resume=resume, force=force)
        ready = outlined(training, resumed)
        if rank() == 0:
            on_ready(ready)
        training.accelerator.wait_for_everyone()  # before the first process writes what the others look at
        record = opened(training, recipe, baseline, quick=quick)
        with MetricsLog(folder) as log:
            for stage in stages:
                # From here on, older results of this stage and of later stages no longer count.
                record = record.before(stage)
                training.save(record)
                surroundings = training.surroundings(stage, log, interruption, resumed)
                with _explained(stage, config, folder):
                    result = run_stage(stage, training, surroundings)
                training.say_damaged()
                record = record.after(stage, result, training.found)
                training.save(record)
                training.accelerator.wait_for_everyone()
                resumed = None
                refuse_collapsed(record, stages[stages.index(stage) + 1 :], training, force=force)
                signal = interruption.agreed(training.accelerator.device)
                if signal and stage != stages[-1]:
                    raise InterruptedTrainingError(
                        f"stopped after stage {stage}: go on with anytime train --resume {folder}", signal
                    )
    return record


def outline_stages(
    config: Config,
    folder: Path,
    *,
    stages: Sequence[Stage] = STAGES,
    autoencoder: Path | None = None,
    resume: bool = False,
    force: bool = False,
) -> Outline:
    """What `train_stages` would do with the same arguments. Nothing is trained, and nothing is written.

    Raises:
        AnytimeError: anything that `train_stages` would find wrong before its first step.
    """
    training = Preparation(config, folder, stages, ignore_progress, autoencoder)
    with blaming(config.core.prior.kind), training.environment():
        return outlined(training, _found_good(training, resume=resume, force=force))


def _found_good(training: Preparation, *, resume: bool, force: bool) -> Checkpoint | None:
    """The checkpoint of the first stage, None for its start, after all checks before the first file is written."""
    check(training)
    refuse_collapsed(training.basis_record, training.stages, training, force=force)
    resumed = training.checkpoints(training.stages[0]).latest() if resume else None
    resumed = checked_against_data(training, resumed, force=force)
    if not force:
        refuse_to_discard(training, resumed)
    elif resumed is not None and is_whole(training, resumed):
        return None  # it is trained again, as it has no step left to resume
    return resumed


def _explained(stage: Stage, config: Config, folder: Path) -> contextlib.AbstractContextManager[None]:
    """Say what to change if a stage runs out of something before or after its steps; the steps say so themselves."""
    settings = config.core.training
    sizes: dict[str, int] = (
        {stage: settings.prior.batch_size} if stage == "prior" else {"codes": settings.codes.batch_size}
    )
    if stage == "autoencoder":
        sizes[stage] = settings.autoencoder.batch_size
    return explained(
        f"stage {stage}",
        memory="lower " + " and ".join(f"training.{name}.batch_size={size}" for name, size in sizes.items()),
        peers=f"go on with anytime train --resume {shown(folder)}",
    )


@contextlib.contextmanager
def _only_writer(folder: Path) -> Iterator[None]:
    """Keep other trainings out of the run folder. The first of several processes does it for all."""
    with contextlib.ExitStack() as stack:
        if rank() == 0 and (folder.is_dir() or not folder.exists()):
            try:
                stack.enter_context(locked(folder, LOCK, f"training {folder}"))
            except OSError as error:
                raise RunError(
                    f"cannot make run folder {folder}: {system_reason(error)}; choose another {argument('run')}"
                ) from error
        stack.enter_context(naming(folder))
        yield
