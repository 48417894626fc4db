"""`anytime train`: all stages of a run, or one."""

from __future__ import annotations

import itertools
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from anytime_cli import option_types, outlines, output, progress, startup, subjects
from anytime_core.display import shown

if TYPE_CHECKING:
    from anytime_core.record import RunRecord, Stage

EXAMPLES = """Examples:

anytime train

anytime train --config image/mnist --set data.root=DIR

anytime train --config image/mnist --set data.root=DIR --baseline unordered

anytime train --modality audio

anytime train --config image/folder --set data.root=PICTURES --set data.size=32

anytime train --config audio/folder --set data.root=RECORDINGS --quick

anytime train --config image/folder --set data.root=PICTURES --dry-run

anytime train --resume runs/image-mnist-1

anytime train --resume runs/image-folder-1 --set data.root=MOVED

anytime train --resume runs/image-mnist-1 --stage prior --set training.prior.steps=9000

anytime train --run runs/image-mnist-1 --stage prior --set prior.kind=ardm --force
"""

OTHER_OPTIONS = """What --set may change for a kind of data: anytime train --modality audio --help"""


_LATEST = "latest"
_AUTO = "auto"


class TrainCommand(option_types.Command):
    """`train`, whose help also lists what the config of the modality that is named may say."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """`--resume` alone stands for the latest run."""
        parsed = []
        for argument, following in itertools.pairwise([*args, "-"]):
            parsed.append(argument)
            if argument == "--resume" and following.startswith("-"):
                parsed.append(_LATEST)
        return super().parse_args(ctx, parsed)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The help, with the options of the plugin that `--modality` names."""
        self.epilog = f"{EXAMPLES}\n\n{_modality_options(sys.argv) or OTHER_OPTIONS}"
        super().format_help(ctx, formatter)


def _modality_options(arguments: Sequence[str]) -> str:
    """What `--set` may change of the sections of the modality in `arguments`, empty where none is named."""
    from anytime_core.config_parsing import described_fields
    from anytime_core.discovery.plugins import load_modality

    name = output.value_of(["--modality"], arguments)
    if not name:
        return ""
    fields = dict.fromkeys(described_fields(load_modality(name).Config))
    lines = [f"{key}={default}  {description}" for key, default, description in fields]
    shown = (output.without_markup(line) for line in [f"What --set may change for modality {name}:", *lines])
    return "\n\n".join(shown)


StageChoice = Literal["all", "autoencoder", "codes", "prior"]


def train(
    modality: Annotated[
        str | None, typer.Option(help="Modality to train: its default recipe is used. Default: image.")
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
            help="Make of the config a model to compare with, such as unordered, dedicated-8 or pca "
            "(see anytime recipes baselines); --set changes it further.",
            show_default=False,
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Train the small variant that the config says below quick:, a look of minutes; --baseline and --set "
            "change it further.",
        ),
    ] = False,
    stage: Annotated[
        StageChoice | None,
        typer.Option(
            help="All stages that are not finished, or one of them in an existing run. Default: all, with --resume "
            "those that the run was begun with.",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            parser=option_types.path,
            metavar="<path>",
            help="Run folder. Default: runs/<recipe>[-quick][-<baseline>]-<n>.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="[DIR]",
            help="Go on from the last checkpoint of this run, or of the latest one; auto starts --run, or goes on with "
            "it, or does nothing where it is finished.",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what was found and what would be trained, and make no run."),
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Go on past what is refused otherwise: data that has changed since the run was begun, an autoencoder "
            "that ignores its input, or a finished stage, which is thrown away and trained again.",
        ),
    ] = False,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", show_default=False)] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto, float32, bfloat16 or float16.", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights and data order.", show_default=False)] = None,
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="The same weights every time on a GPU too, slower.")
    ] = False,
    json: output.JsonOption = False,
) -> None:
    """Train an ordered autoencoder, write its codes, and train a prior on them.

    Without any option the embedded image recipe is trained, with --modality audio the embedded one of sounds.
    Everything goes into one run folder.
    """
    startup.import_torch()
    from anytime_core.distributed import launched
    from anytime_core.errors import UsageError
    from anytime_core.record import RUN_FILE, read_record
    from anytime_core.training.finished import check_finished
    from anytime_core.training.train import new_run_folder, outline
    from anytime_core.training.train import train as train_run

    run = _run_to_resume(resume, run)
    if run is None and launched()[1] > 1:
        raise UsageError("several processes train one run together: name it with --run DIR")
    if stage in ("codes", "prior") and run is None:
        raise UsageError(f"--stage {stage} goes on with a run: name it with --run DIR, see anytime runs list")
    started = read_record(run) if run is not None and (run / RUN_FILE).exists() else None
    stages = _stages(stage, started, stays=resume not in (None, _AUTO))
    if not stages and run is not None and started is not None:
        if resume == _AUTO:
            check_finished(run)
            _show(run, started, json=json)
            return
        raise UsageError(_nothing_left(run, started))
    options = {
        "training.device": device,
        "training.precision": precision,
        "training.deterministic": deterministic or None,
        "seed": seed,
        "modality": modality,
    }
    changes = [*(overrides or []), *subjects.settings(options, overrides or ())]
    with output.chatter_to_stderr():
        from_run = run if started is not None and config is None else None
        subject = subjects.resolve(modality, config, baseline, changes, from_run, quick=quick)
        folder = run or new_run_folder(Path("runs"), subject.name.replace("/", "-"))
        resumes = resume is not None or (started is not None and stage in (None, "all"))
        first = launched()[0] == 0  # of several processes, it speaks for all
        if dry_run:
            planned = outline(subject.config, folder, stages=stages, resume=resumes, force=force)
        else:
            on_forecast = partial(outlines.forecast, has_quick=subject.has_quick)
            with progress.TrainingBoard(on_forecast) as board, output.writing_to(folder, "--run"):
                record = train_run(
                    subject.config,
                    folder,
                    stages=stages,
                    recipe=subject.recipe,
                    baseline=subject.baseline,
                    quick=subject.quick,
                    on_ready=lambda ready: outlines.announce(ready, subject.name),
                    on_progress=board.update,
                    resume=resumes,
                    force=force,
                )
    if first and dry_run:
        outlines.show(planned, subject.name, json=json)
    elif first:
        _show(folder, record, json=json)


def _run_to_resume(resume: str | None, run: Path | None) -> Path | None:
    """The run that `--resume` and `--run` name together."""
    from anytime_core.errors import UsageError
    from anytime_core.record import latest_run, read_record

    if resume is None:
        return run
    if resume == _AUTO:
        if run is None:
            raise UsageError("--resume auto starts a run or goes on with it: name it with --run DIR")
        return run
    if resume != _LATEST and run not in (None, option_types.path(resume)):
        raise UsageError(f"--resume {resume} and --run {run} name two runs: leave one of them out")
    named = option_types.path(resume) if resume != _LATEST else run or latest_run(Path("runs"))
    _ = read_record(named)
    return named


def _stages(asked: StageChoice | None, started: RunRecord | None, *, stays: bool) -> list[Stage]:
    """The stages to train: the one that is asked for, or all that are not finished.

    A run that is gone on with and `stays` what it was begun as ends with the stage that was asked for then.
    """
    from anytime_core.record import STAGES

    if asked is not None and asked != "all":
        return [asked]
    last = started.last_stage if started is not None and stays and asked is None else STAGES[-1]
    finished = started.stages if started is not None else {}
    return [stage for stage in STAGES[: STAGES.index(last) + 1] if stage not in finished]


def _nothing_left(run: Path, started: RunRecord) -> str:
    """What is wrong, and the way out, where a run has all stages that it was asked for."""
    from anytime_core.record import STAGES
    from anytime_core.run_folders import checkpoint_steps

    if missing := [stage for stage in STAGES if stage not in started.stages]:
        return (
            f"run {shown(run)} was asked for stage {started.last_stage}, which is finished: go on with anytime train "
            f"--run {shown(run)}, which trains {' and '.join(missing)}"
        )
    more = ""
    if checkpoint_steps(run, "prior"):
        more = f", give a stage more steps with anytime train --resume {shown(run)} --stage prior --set "
        more += "training.prior.steps=MORE"
    return f"run {shown(run)} is finished: choose another --run{more}, or train one again with --stage and --force"


def _show(folder: Path, record: RunRecord, *, json: bool) -> None:
    """What was trained."""
    if json:
        output.print_json(
            {
                "run": str(folder),
                "modality": record.modality,
                "recipe": record.recipe,
                "baseline": record.baseline,
                "quick": record.quick,
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
            output.say(f"next: anytime train --run {shlex.quote(str(folder))}, which goes on until there is a prior")
