"""Which run is trained, and which of its stages."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from anytime_core.data.locations import user_path
from anytime_core.display import shown
from anytime_core.distributed import launched
from anytime_core.errors import UsageError, nearest
from anytime_core.quantities import shown_value
from anytime_core.record import RUN_FILE, STAGES, RunRecord, Stage, latest_run, read_record
from anytime_core.run_folders import checkpoint_steps
from anytime_core.spelling import argument
from anytime_core.training.frozen import check_place, shareable

RUNS = Path("runs")
"""The folder of new runs, and of the latest one."""

StageChoice = Stage | Literal["all"] | None
"""One stage; `all` that are not finished; None: all, or those that a resumed run was begun with."""
Resume = bool | Literal["auto"]
"""Whether to resume from the last checkpoint. `auto`: start, resume, or do nothing if the run is finished."""


@dataclass(frozen=True)
class Plan:
    """Which run is trained, and how.

    Attributes:
        run: the run folder; None: a new one below `runs`.
        started: the record of the run that is there; None: there is none yet.
        stages: what is trained, in order; empty if there is nothing left to train.
        resume: whether the first stage is resumed from its last checkpoint.
        frozen: the run whose autoencoder and codes are taken, and its record; None: the run makes its own.
    """

    run: Path | None
    started: RunRecord | None
    stages: tuple[Stage, ...]
    resume: bool
    frozen: tuple[Path, RunRecord] | None = None

    def folder(self, name: str) -> Path:
        """The run folder. If none is named, the first of `runs/NAME-1`, `runs/NAME-2`, ... that is free."""
        if self.run is not None:
            return self.run
        name, number = name.replace("/", "-"), 1
        while (RUNS / f"{name}-{number}").exists():
            number += 1
        return RUNS / f"{name}-{number}"


def plan(
    run: str | os.PathLike[str] | None,
    stage: StageChoice,
    resume: Resume,
    autoencoder: str | os.PathLike[str] | None = None,
) -> Plan:
    """The plan that follows from these arguments.

    Args:
        run: the run folder; `~` is a home folder. None: a new one, or the latest one if `resume` is true.
        stage: which stages.
        resume: whether to resume from the last checkpoint.
        autoencoder: the run whose autoencoder and codes a new run takes. None: it makes its own.

    Raises:
        UsageError: an argument is unknown, the run is not clear, or nothing of the run is left to train.
        RunError: the run to resume is missing or damaged.
    """
    _check(stage, resume)
    for name, path in (("run", run), ("autoencoder", autoencoder)):
        if not isinstance(path, str | os.PathLike | None):
            raise UsageError(f"{name} {shown_value(path)} is not the path of a folder")
    folder = user_path(run) if run is not None else None
    if folder is None and resume == "auto":
        raise UsageError(
            f"{argument('resume', 'auto')} starts a run or goes on with it: name it with {argument('run', 'DIR')}"
        )
    if resume is True:
        folder = folder or latest_run(RUNS)
        started: RunRecord | None = read_record(folder)
    else:
        started = read_record(folder) if folder is not None and (folder / RUN_FILE).exists() else None
    if folder is None and launched()[1] > 1:
        raise UsageError(f"several processes train one run together: name it with {argument('run', 'DIR')}")
    if autoencoder is not None and stage in ("autoencoder", "codes"):
        raise UsageError(
            f"{argument('stage', stage)} makes what {argument('autoencoder')} takes from another run: leave one of "
            "them out"
        )
    if folder is None and autoencoder is None and stage in ("codes", "prior"):
        raise UsageError(
            f"{argument('stage', stage)} goes on with a run: name it with {argument('run', 'DIR')}, "
            "see anytime runs list"
        )
    frozen = None
    if autoencoder is not None:
        taken = user_path(autoencoder)
        frozen = taken, shareable(taken)
        check_place(folder, started, *frozen)
    stages: tuple[Stage, ...] = ("prior",) if frozen and not started else _stages(stage, started, stays=resume is True)
    if not stages and folder is not None and started is not None and resume != "auto":
        raise UsageError(_nothing_left(folder, started))
    return Plan(
        run=folder,
        started=started,
        stages=stages,
        resume=bool(resume) or (started is not None and stage in (None, "all")),
        frozen=frozen,
    )


def _check(stage: StageChoice, resume: Resume) -> None:
    """Raise UsageError if there is no such stage, or no such way to resume."""
    if stage not in (None, "all", *STAGES):
        known = ("all", *STAGES)
        raise UsageError(f"no stage {shown(repr(stage))}{nearest(str(stage), known)}: use {', '.join(known)}")
    if not isinstance(resume, bool) and resume != "auto":
        raise UsageError(f"resume={shown(repr(resume))} is not True, False or 'auto': name the run with run=DIR")


def _stages(asked: StageChoice, started: RunRecord | None, *, stays: bool) -> tuple[Stage, ...]:
    """The stage that is asked for, or all that are not finished.

    With `stays`, the last stage is the one that was asked for when the run was started.
    """
    if asked is not None and asked != "all":
        return (asked,)
    last = started.last_stage if started is not None and stays and asked is None else STAGES[-1]
    finished = started.stages if started is not None else {}
    return tuple(stage for stage in STAGES[: STAGES.index(last) + 1] if stage not in finished)


def _nothing_left(run: Path, started: RunRecord) -> str:
    """The message if a run has all stages that it was asked for, with the way out."""
    if missing := [stage for stage in STAGES if stage not in started.stages]:
        return (
            f"run {shown(run)} was asked for stage {started.last_stage}, which is finished: go on with anytime train "
            f"--run {shown(run)}, which trains {' and '.join(missing)}"
        )
    more = ""
    if checkpoint_steps(run, "prior"):
        more = f", give a stage more steps with anytime train --resume {shown(run)} --stage prior --set "
        more += "training.prior.steps=MORE"
    return (
        f"run {shown(run)} is finished: choose another {argument('run')}{more}, or train one again with "
        f"{argument('stage')} and {argument('force')}"
    )
