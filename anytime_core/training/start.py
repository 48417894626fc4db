"""The public API of training: from a recipe, a file, values or a run to a trained run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace

from anytime_core.config_parsing import overridden_key
from anytime_core.devices import resolve_device
from anytime_core.discovery.resolve import Overrides, Source, Subject, as_changes, resolve, resolve_run
from anytime_core.errors import UsageError, writing_to
from anytime_core.quantities import shown_value
from anytime_core.run import Run, load
from anytime_core.spelling import argument
from anytime_core.training.finished import check_finished, refuse_other_config
from anytime_core.training.frozen import on_autoencoder_of
from anytime_core.training.log import OnProgress, ignore_progress
from anytime_core.training.outline import Outline, finished_outline
from anytime_core.training.planning import Plan, Resume, StageChoice, plan
from anytime_core.training.train import outline_stages, train_stages


def train(
    config: Source = None,
    *,
    overrides: Overrides = (),
    run: str | os.PathLike[str] | None = None,
    modality: str | None = None,
    baseline: str | None = None,
    quick: bool = False,
    autoencoder: str | os.PathLike[str] | None = None,
    stage: StageChoice = None,
    resume: Resume = False,
    force: bool = False,
    on_ready: Callable[[Outline], None] = lambda outline: None,
    on_progress: OnProgress = ignore_progress,
) -> Run:
    """Train an ordered autoencoder, write its codes, and train a prior on them; or some of these stages.

    >>> steps = {"training.autoencoder.steps": 3, "training.prior.steps": 3}
    >>> train("image/digits", overrides={**steps, "training.device": "cpu"}, run="runs/brief")
    Run(runs/brief, image, 16 codes of 64, 10 classes, transformer prior, cpu)
    >>> more = train(run="runs/brief", stage="prior", resume=True, overrides={"training.prior.steps": 5})
    >>> more.record.stages["prior"].steps
    5

    Nothing is written before configuration, device and data are checked. Several processes that `torchrun` or
    `accelerate launch` has started train one run together; all of them get the run.

    Args:
        config: a recipe's name, the path of a YAML file, a mapping of values in the layout of such a file, or a
            `Config`. None: the config of the existing `run`, or else the default recipe of `modality`.
        overrides: changes of the config, such as `{"data.root": "pictures", "seed": 3, "training.device": "cuda"}`; or
            texts as `--set` takes them, such as `["data.root=pictures"]`.
        run: the run folder, `~` for a home folder. It is made if it is missing; an existing run is trained
            further. None: a new one, `runs/<recipe>[-quick][-<baseline>]-<n>`, with the kind of the prior before the
            number if there is an `autoencoder`; or the latest one if `resume` is true.
        modality: the name of a modality, whose default recipe is trained if there is no `config`.
        baseline: the name of a baseline of the config, a model to compare with, such as `"unordered"`.
        quick: whether to train the small variant of the config.
        autoencoder: another run, or its folder, on whose autoencoder and codes only a prior is trained. The config is
            then that of the other run unless there is a `config`, and only what it says of the prior may change.
        stage: `"autoencoder"`, `"codes"`, `"prior"`, or `"all"` that are not finished. None: all, or those that the
            run was begun with if `resume` is true.
        resume: whether to resume from the last checkpoint. On the CPU the result is that of a training that was never
            stopped, bit by bit. `"auto"`: start the run, resume it, or return it if it is finished
            as it is asked for.
        force: whether to go on if the data has changed since the run was begun, if the autoencoder ignores its input,
            or if a stage is finished: it is then thrown away and trained again.
        on_ready: called with what will be done, before the first file is written.
        on_progress: called after every step.

    Returns:
        The run, opened on the device that it was trained on. Its `prior` is None if that stage is not finished.

    Raises:
        UsageError: an argument makes no sense, or a finished stage would be trained again.
        ConfigError: the config has mistakes; the message names all of them.
        DataError: the data is missing, or is not the data that the run was started with.
        RunError: the run is damaged, or its autoencoder ignores its input.
        InterruptedTrainingError: Ctrl-C or SIGTERM came; there is a checkpoint.
    """
    _check_types(overrides, modality=modality, baseline=baseline, quick=quick, force=force)
    planned = plan(run, stage, resume, autoencoder)
    subject = _subject(planned, config, overrides, modality, baseline, quick=quick)
    folder, device = planned.folder(subject.name), subject.config.core.training.device
    if not planned.stages and planned.started is not None:
        check_finished(folder)
        refuse_other_config(folder, planned.started, subject.config, _keys(overrides))
        return load(folder, device=device)
    with writing_to(folder, argument("run")):
        train_stages(
            subject.config,
            folder,
            stages=planned.stages,
            recipe=subject.recipe,
            baseline=subject.baseline,
            quick=subject.quick,
            autoencoder=planned.frozen[0] if planned.frozen else None,
            on_ready=lambda ready: on_ready(_named(ready, subject)),
            on_progress=on_progress,
            resume=planned.resume,
            force=force,
        )
    return load(folder, device=device)


def outline(
    config: Source = None,
    *,
    overrides: Overrides = (),
    run: str | os.PathLike[str] | None = None,
    modality: str | None = None,
    baseline: str | None = None,
    quick: bool = False,
    autoencoder: str | os.PathLike[str] | None = None,
    stage: StageChoice = None,
    resume: Resume = False,
    force: bool = False,
) -> Outline:
    """What `train` would do with the same arguments. Nothing is trained, and nothing is written into the run folder.

    Raises:
        AnytimeError: anything that `train` would find wrong before its first step.
    """
    _check_types(overrides, modality=modality, baseline=baseline, quick=quick, force=force)
    planned = plan(run, stage, resume, autoencoder)
    subject = _subject(planned, config, overrides, modality, baseline, quick=quick)
    folder = planned.folder(subject.name)
    if not planned.stages and planned.started is not None:
        refuse_other_config(folder, planned.started, subject.config, _keys(overrides))
        device = str(resolve_device(subject.config.core.training.device))
        return _named(finished_outline(folder, planned.started, device), subject)
    found = outline_stages(
        subject.config,
        folder,
        stages=planned.stages,
        autoencoder=planned.frozen[0] if planned.frozen else None,
        resume=planned.resume,
        force=force,
    )
    return _named(found, subject)


def _check_types(overrides: Overrides, **others: object) -> None:
    """Raise UsageError for arguments that are not of the type that they should be."""
    if isinstance(overrides, str | bytes) or not isinstance(overrides, Iterable):
        raise UsageError(
            f"overrides {shown_value(overrides)} are not changes of the config: give a mapping such as {{'seed': 3}}, "
            "or a list such as ['seed=3']"
        )
    for name, value in others.items():
        if name in ("quick", "force"):
            if not isinstance(value, bool):
                raise UsageError(f"{name} {shown_value(value)} is not True or False")
        elif value is not None and not isinstance(value, str):
            raise UsageError(f"{name} {shown_value(value)} is not a name")


def _subject(
    planned: Plan, config: Source, overrides: Overrides, modality: str | None, baseline: str | None, *, quick: bool
) -> Subject:
    """What is trained: the config of the run unless another config is named."""
    if planned.frozen is not None:
        for name, given in (("baseline", baseline), ("quick", quick or None)):
            if given is not None:
                raise UsageError(
                    f"{argument(name, given)} makes another autoencoder, and {argument('autoencoder')} takes that of a "
                    "run as it is: leave one of them out"
                )
        if planned.started is None:
            return on_autoencoder_of(*planned.frozen, config, overrides=overrides, modality=modality)
    if planned.started is not None and planned.run is not None and config is None:
        return resolve_run(planned.run, overrides=overrides, modality=modality, baseline=baseline, quick=quick)
    return resolve(config, overrides=overrides, modality=modality, baseline=baseline, quick=quick)


def _keys(overrides: Overrides) -> set[str]:
    return {overridden_key(change) for change in as_changes(overrides, None)}


def _named(found: Outline, subject: Subject) -> Outline:
    return replace(found, name=subject.name, has_quick=subject.has_quick)
