"""`anytime train`: its options, one call of `anytime_core.train`, and what it prints."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from anytime_cli import option_types, outlines, output, progress, startup
from anytime_cli.train_command import AUTO, LATEST
from anytime_core.display import shown

if TYPE_CHECKING:
    from anytime_core.record import RunRecord

StageChoice = Literal["all", "autoencoder", "codes", "prior"]


def train(
    modality: Annotated[
        str | None, typer.Option(help="Train the default recipe of this modality. Default: image.")
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="A recipe (see anytime recipes list) or a YAML file.", show_default=False)
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one value, such as data.root=DIR. May be repeated."),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Train a baseline of this config: unordered, dedicated-8, pca, ... (see anytime recipes baselines). "
            "--set changes it further.",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Train the quick variant of this config, in minutes. --baseline and --set change it further.",
        ),
    ] = False,
    autoencoder: Annotated[
        Path | None,
        typer.Option(
            parser=option_types.path,
            metavar="RUN",
            help="Train only a prior, on the autoencoder and the codes of this run, which are not changed.",
            show_default=False,
        ),
    ] = None,
    stage: Annotated[
        StageChoice | None,
        typer.Option(
            help="Train one stage of an existing run, or all that are not finished. Default: all; with --resume, those "
            "that the run was started with.",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            parser=option_types.path,
            metavar="<path>",
            help="Run folder. Default: runs/<recipe>[-quick][-<baseline>][-<prior>]-<n>.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="[DIR]",
            help="Resume this run (default: the latest). auto: start, resume, or do nothing if finished.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what was found and what would be trained. Train nothing."),
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Go on if the data has changed, if the autoencoder ignores its input, or if a stage is finished: "
            "it is then thrown away and trained again.",
        ),
    ] = False,
    device: Annotated[
        str | None, typer.Option(help="Device: auto, cpu, cuda, cuda:N or mps.", show_default=False)
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Precision: auto, float32, bfloat16 or float16.", show_default=False)
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the weights and the data order.", show_default=False)
    ] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="Train to the same weights every time, on a GPU too. Slower.")
    ] = False,
    json: output.JsonOption = False,
) -> None:
    """Train an ordered autoencoder, write its codes, and train a prior on them.

    Without options, it trains on small pictures of digits, which come with the toolkit.
    With --modality audio, it trains on plucked strings. Everything goes into one run folder.
    """
    startup.import_torch()
    from anytime_core.discovery.resolve import check_said_once
    from anytime_core.distributed import launched
    from anytime_core.training.start import outline
    from anytime_core.training.start import train as train_run

    folder, goes_on = _run_to_resume(resume, run)
    options = {
        "training.device": device,
        "training.precision": precision,
        "training.deterministic": deterministic or None,
        "seed": seed,
    }
    given = {key: value for key, value in options.items() if value is not None}
    check_said_once(given, overrides or ())
    arguments: dict[str, Any] = {
        "config": config,
        "overrides": [*(overrides or ()), *given.items()],
        "run": folder,
        "modality": modality,
        "baseline": baseline,
        "quick": quick,
        "autoencoder": autoencoder,
        "stage": stage,
        "resume": goes_on,
        "force": force,
    }
    first = launched()[0] == 0  # of several processes, the first one prints
    with output.chatter_to_stderr():
        if dry_run:
            planned = outline(**arguments)
        else:
            told = outlines.Teller()
            with progress.TrainingBoard(told.forecast) as board:
                trained = train_run(**arguments, on_ready=told.announce, on_progress=board.update)
    if first and dry_run:
        outlines.show(planned, json=json)
    elif first:
        _show(trained.folder, trained.record, json=json)


def _run_to_resume(resume: str | None, run: Path | None) -> tuple[Path | None, bool | Literal["auto"]]:
    """The run that `--resume` and `--run` name, and whether to resume it."""
    from anytime_core.errors import UsageError

    if resume is None or resume == LATEST:
        return run, resume is not None
    if resume == AUTO:
        return run, AUTO
    named = option_types.path(resume)
    if run not in (None, named):
        raise UsageError(f"--resume {resume} and --run {run} name two runs: leave one of them out")
    return named, True


def _show(folder: Path, record: RunRecord, *, json: bool) -> None:
    """Print what was trained."""
    if json:
        output.print_json(
            {
                "run": str(folder),
                "modality": record.modality,
                "recipe": record.recipe,
                "baseline": record.baseline,
                "quick": record.quick,
                "autoencoder_of": record.autoencoder_of.run if record.autoencoder_of is not None else None,
                "stages": {
                    name: {"seconds": done.seconds, "steps": done.steps} for name, done in record.finished.items()
                },
                "code_length": record.code_length,
                "codebook_size": record.codebook_size,
                "validation": {
                    name: said
                    for name, done in record.finished.items()
                    if (said := done.model_dump(mode="json").get("validation"))
                },
                "found": record.found.model_dump(mode="json") if record.found is not None else None,
            }
        )
    else:
        output.say(f"done: {shown(folder)}")
        if "prior" in record.stages:
            output.say(f"next: anytime sample --run {shlex.quote(str(folder))} --budget 0.6")
        elif record.codebook_size is not None:
            output.say(f"next: anytime train --run {shlex.quote(str(folder))}, to train the stages that are left")
