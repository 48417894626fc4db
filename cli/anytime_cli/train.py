"""`anytime train`: all stages of a run, or one."""

from __future__ import annotations

import itertools
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from anytime_cli import option_types, outlines, output, startup
from anytime_core.display import shown

if TYPE_CHECKING:
    from anytime_core.config import Config
    from anytime_core.record import RunRecord, Stage

EXAMPLES = """Examples:

anytime train

anytime train --config image/mnist --set data.root=DIR

anytime train --config image/mnist --set data.root=DIR --baseline unordered

anytime train --modality audio

anytime train --config image/folder --set data.root=PICTURES --set data.size=32

anytime train --config audio/folder --set data.root=RECORDINGS

anytime train --config image/folder --set data.root=PICTURES --dry-run

anytime train --resume runs/image-mnist-1

anytime train --resume runs/image-folder-1 --set data.root=MOVED

anytime train --run runs/image-mnist-1 --stage prior --set training.prior.steps=2000
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
    from anytime_core.plugins import load_modality

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
            help="Run folder. Default: runs/<recipe>[-<baseline>]-<n>.",
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
        bool, typer.Option("--force", help="Go on with a run although its data has changed since it was begun.")
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
    from anytime_core.training.train import check_finished, new_run_folder, outline
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
    settings = _settings(options, overrides or ())
    with output.chatter_to_stderr():
        from_run = run if started is not None and config is None else None
        subject = _resolve(modality, config, baseline, [*(overrides or []), *settings], from_run)
        folder = run or new_run_folder(Path("runs"), subject.name.replace("/", "-"))
        if resume is not None and started is not None:
            _refuse_finished(stage, started, subject.config, shown(folder))
        resumes = resume is not None or (started is not None and stage in (None, "all"))
        first = launched()[0] == 0  # of several processes, it speaks for all
        if dry_run:
            planned = outline(subject.config, folder, stages=stages, resume=resumes, force=force)
        else:
            with _ProgressBars() as bars, output.writing_to(folder, "--run"):
                record = train_run(
                    subject.config,
                    folder,
                    stages=stages,
                    recipe=subject.recipe,
                    baseline=subject.baseline,
                    on_ready=lambda ready: outlines.announce(ready, subject.name),
                    on_progress=bars.update,
                    resume=resumes,
                    force=force,
                )
    if first and dry_run:
        outlines.show(planned, subject.name, json=json)
    elif first:
        _show(folder, record, json=json)


def _settings(options: Mapping[str, object], overrides: Sequence[str]) -> list[str]:
    """Overrides for `options`, None where one was not given. Raises UsageError where `--set` says otherwise."""
    from anytime_core.errors import UsageError

    given = {key: str(value) for key, value in options.items() if value is not None}
    for override in overrides:
        key, _, value = (part.strip() for part in override.partition("="))
        if key in given and value.lower() != given[key].lower():
            name = key.rpartition(".")[2]
            raise UsageError(f"--{name} {given[key]} and --set {override} say two things: leave one of them out")
    return [f"{key}={value}" for key, value in given.items()]


def _refuse_finished(stage: StageChoice | None, started: RunRecord, config: Config, folder: str) -> None:
    """Raise UsageError where a finished stage is to be gone on with, and the config asks for no further steps of it."""
    from anytime_core.errors import UsageError

    settings = getattr(config.core.training, stage or "", None)
    if stage in started.stages and getattr(settings, "steps", 0) <= started.stages[stage].steps:
        raise UsageError(f"stage {stage} of run {folder} is finished: repeat it with --run {folder} --stage {stage}")


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

    if missing := [stage for stage in STAGES if stage not in started.stages]:
        return (
            f"run {shown(run)} was asked for stage {started.last_stage}, which is finished: go on with anytime train "
            f"--run {shown(run)}, which trains {' and '.join(missing)}"
        )
    return f"run {shown(run)} is finished: choose another --run, or repeat one stage of it with --stage"


def _show(folder: Path, record: RunRecord, *, json: bool) -> None:
    """What was trained."""
    if json:
        output.print_json(
            {
                "run": str(folder),
                "modality": record.modality,
                "recipe": record.recipe,
                "baseline": record.baseline,
                "stages": {
                    name: {"seconds": done.seconds, "steps": done.steps} for name, done in record.stages.items()
                },
                "code_length": record.code_length,
                "codebook_size": record.codebook_size,
                "validation": {
                    name: said
                    for name, done in record.stages.items()
                    if (said := done.validation.model_dump(mode="json"))
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


@dataclass(frozen=True)
class _Subject:
    """What to train, checked."""

    recipe: str
    baseline: str | None
    config: Config

    @property
    def name(self) -> str:
        """Such as `image/mnist` or `image/mnist-unordered`."""
        return f"{self.recipe}-{self.baseline}" if self.baseline else self.recipe


def _resolve(
    modality: str | None, config: str | None, baseline: str | None, overrides: list[str], run: Path | None
) -> _Subject:
    """A run's own config, a YAML file, a recipe, or the default one, of which `baseline` makes another."""
    from anytime_core.baselines import find_baseline
    from anytime_core.config import CoreConfig
    from anytime_core.config_parsing import apply_overrides, modality_name, parse_config, read_yaml
    from anytime_core.errors import UsageError
    from anytime_core.plugins import find_plugin, load_modality
    from anytime_core.recipes import default_recipe, find_config
    from anytime_core.record import CONFIG_FILE, read_record

    changes = find_baseline(baseline) if baseline is not None else None
    data: dict[str, Any]
    if run is not None:
        record = read_record(run)
        if baseline not in (None, record.baseline):
            raise UsageError(f"run {run} was not started with --baseline {baseline}: choose another --run")
        name, data = record.recipe or run.name, read_yaml(run / CONFIG_FILE)
        baseline, changes = record.baseline, None  # which its config has already
    elif config is not None:
        name, data = find_config(config)
    else:
        recipe = default_recipe(find_plugin(CoreConfig().modality if modality is None else modality).name)
        name, data = recipe.name, recipe.read()
    sections = load_modality(modality_name(data, overrides)).Config
    if changes is not None:
        quantizer = parse_config(data, sections).core.autoencoder.quantizer
        data = apply_overrides(data, changes.overrides(quantizer), sections)
    return _Subject(name, baseline, parse_config(apply_overrides(data, overrides, sections), sections))


class _ProgressBars:
    """Progress on stderr: a bar for each stage on a terminal, a line now and then elsewhere."""

    _LINES = 10

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.console = Console(stderr=True)
        self.bars = Progress(
            TextColumn("{task.description:<12}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[values]}", markup=False),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        self.tasks: dict[str, Any] = {}

    def __enter__(self) -> _ProgressBars:
        self.bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bars.stop()

    def update(self, progress: Any) -> None:
        """Show a `Progress`."""
        if progress.stage not in self.tasks:
            self.tasks[progress.stage] = self.bars.add_task(progress.stage, total=progress.steps, values="")
        values = "  ".join(f"{name} {value:.4g}" for name, value in progress.values.items())
        self.bars.update(self.tasks[progress.stage], completed=progress.step, values=values)
        every = max(1, progress.steps // self._LINES)
        if not self.console.is_terminal and (progress.step % every == 0 or progress.step == progress.steps):
            output.say(f"{progress.stage:<12} {progress.step:>7}/{progress.steps}  {values}")
