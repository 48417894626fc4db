"""`anytime runs`: list, show, compare, rename, prune and remove runs."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anytime_cli import option_types, output
from anytime_core.display import shown

if TYPE_CHECKING:
    from anytime_core.in_training import InTraining
    from anytime_core.record import AutoencoderOrigin, RunRecord

app = option_types.Commands(help="List, show and look after runs. Without a command, list them.")

RootOption = Annotated[
    Path, typer.Option(parser=option_types.path, metavar="<path>", help="Folder that holds run folders.")
]
RunArgument = Annotated[Path, typer.Argument(parser=option_types.path, help="Run folder.", show_default=False)]
_RUNS = Path("runs")


@app.callback(invoke_without_command=True)
def runs(context: typer.Context, root: RootOption = _RUNS, json: output.JsonOption = False) -> None:
    """List, show and look after runs. Without a command, list them."""
    from anytime_core.errors import UsageError

    if context.invoked_subcommand is None:
        list_(root, json=json)
    elif json or root != _RUNS:
        option = "--json" if json else "--root"
        raise UsageError(f"{option} stands before {context.invoked_subcommand}: put it after the command")


@app.command("list", epilog="Example: anytime runs list --root experiments")
def list_(root: RootOption = _RUNS, json: output.JsonOption = False) -> None:
    """List run folders, the latest last."""
    from anytime_core.errors import RunError
    from anytime_core.in_training import in_training
    from anytime_core.record import list_runs, read_record
    from anytime_core.run_folders import stopped_at

    if root.exists() and not root.is_dir():
        raise RunError(f"{root} is not a folder: name one that holds run folders with --root")
    rows: list[dict[str, Any]] = []
    needed: dict[str, str] = {}
    for folder in list_runs(root):
        try:
            record = read_record(folder)
        except RunError as error:
            rows.append({"run": str(folder), "problem": str(error)})
            continue
        training, stopped = in_training(folder), stopped_at(folder, record)
        prior = record.stages.get("prior")
        needed[str(folder)] = "" if prior is None else prior.validation.in_words
        rows.append(
            {
                "run": str(folder),
                "modality": record.modality,
                "recipe": record.recipe,
                "baseline": record.baseline,
                "quick": record.quick,
                "prior": record.prior_kind,
                "code_length": record.code_length,
                "codebook_size": record.codebook_size,
                "stages": list(record.stages),
                **_needed(record),
                "training": _fields(training),
                "stopped": stopped,
                "progress": _progress(record.stages, training, stopped),
                "created": record.created,
                "problem": None,
            }
        )
    if json:
        output.print_json(rows)
        return
    output.print_table(
        ("run", "recipe", "prior", "codes", "codebook", "validation", "finished stages", "created"),
        [
            (row["run"], row["problem"], "", "", "", "", "", "")
            if row["problem"]
            else (
                row["run"],
                "-".join(filter(None, (row["recipe"], "quick" if row["quick"] else None, row["baseline"]))),
                row["prior"],
                row["code_length"],
                row["codebook_size"],
                needed[row["run"]],
                row["progress"],
                row["created"],
            )
            for row in rows
        ],
        f"no runs in {root}: train one with anytime train",
    )


def _needed(record: RunRecord) -> dict[str, Any]:
    """What the run's prior needs for validation data, as far as it is known."""
    done = record.stages.get("prior")
    found = None if done is None else done.validation
    return {
        "bits_per_code": None if found is None else found.bits_per_code,
        "nats_per_sample": None if found is None else found.nats_per_sample,
        "bits_per_dimension": None if found is None else found.bits_per_dimension,
        "bound": None if found is None else found.bounded,
    }


def _fields(training: InTraining | None) -> dict[str, Any] | None:
    return None if training is None else vars(training)


def _progress(stages: Iterable[str], training: InTraining | None, stopped: str | None) -> str:
    """The finished stages, and how far the next one is or where it stopped."""
    now = f"in training: {training}" if training is not None else stopped
    return "; ".join(filter(None, (", ".join(stages), now))) or "none"


def _origin(origin: AutoencoderOrigin) -> str:
    """Whose the autoencoder of the run is."""
    return f"of {shown(origin.run)}, created {origin.created}"


def _prior(record: RunRecord) -> str:
    """The kind of the run's prior, and the plugin that it comes from."""
    done = record.stages.get("prior")
    plugin = f" ({done.plugin})" if done is not None and done.plugin is not None else ""
    return f"{record.prior_kind}{plugin}" if done is not None else "none yet"


@app.command("show", epilog="Example: anytime runs show runs/image-digits-1")
def show(
    run: Annotated[
        Path | None,
        typer.Argument(parser=option_types.path, help="Run folder. Default: the latest.", show_default=False),
    ] = None,
    json: output.JsonOption = False,
) -> None:
    """Show how a run was made, what its stages cost, and its validation results."""
    from anytime_core.in_training import in_training
    from anytime_core.record import latest_run, read_record
    from anytime_core.run_folders import stopped_at

    folder = run or latest_run(_RUNS)
    record = read_record(folder)
    training = in_training(folder)
    if json:
        output.print_json({"run": str(folder), **record.model_dump(mode="json"), "training": _fields(training)})
        return
    stopped = stopped_at(folder, record) if training is None else None
    output.print_table(
        ("run", str(folder)),
        [
            ("recipe", f"{record.recipe}, quick variant" if record.quick else record.recipe),
            *([("baseline", record.baseline)] if record.baseline else []),
            *([("autoencoder", _origin(record.autoencoder_of))] if record.autoencoder_of else []),
            ("modality", f"{record.modality} ({record.plugin.distribution} {record.plugin.version})"),
            ("prior", _prior(record)),
            ("created", record.created),
            ("codes", f"{record.code_length} of {record.codebook_size}"),
            ("classes", ", ".join(record.classes) or "none"),
            *(
                (f"stage {name}", f"{done.steps} steps in {done.seconds:.0f} s")
                for name, done in record.finished.items()
            ),
            *((f"weights of {name}", done.digest) for name, done in record.finished.items() if done.digest),
            *([("in training", str(training))] if training is not None else []),
            *([("stopped", f"{stopped}: resume with anytime train --resume {folder}")] if stopped else []),
            *(
                (f"changed {change.at}", f"{key}={value} for {', '.join(change.stages)}")
                for change in record.changes
                for key, value in change.values.items()
            ),
        ],
        "",
    )
    autoencoder = record.stages.get("autoencoder")
    if autoencoder is not None:
        curve = autoencoder.validation.reconstruction
        output.print_text()
        output.print_table(
            ("codes", *curve),
            [
                (length, *(f"{values[row]:.4g}" for values in curve.values()))
                for row, length in enumerate(autoencoder.validation.codes)
            ],
            "",
        )
    prior = record.stages.get("prior")
    if prior is not None and (needed := prior.validation.in_words):
        output.print_text(f"\nprior: {needed} on validation data")


@app.command("rm", epilog="Example: anytime runs rm runs/image-digits-1 runs/image-digits-2")
def remove(
    runs: Annotated[
        list[Path], typer.Argument(parser=option_types.path, help="Run folders.", metavar="RUN", show_default=False)
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: output.JsonOption = False,
) -> None:
    """Remove runs with everything in their folders. It refuses a run in training, and a folder that is no run."""
    from anytime_core.errors import UsageError
    from anytime_core.run_folders import check_removable, remove_run, size_of

    folders = list(dict.fromkeys(runs))
    for folder in folders:
        check_removable(folder)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("runs rm can only ask on a terminal: add --yes to remove them without being asked")
        for folder in folders:
            size = size_of(folder)
            output.say(f"{shown(folder)}: {size.files:,} files, {_megabytes(size.bytes)}")
        typer.confirm("Remove all of this?", abort=True, err=True)
    for folder in folders:
        remove_run(folder)
        output.say(f"removed {shown(folder)}")
    if json:
        output.print_json({"removed": [str(folder) for folder in folders]})


@app.command("rename", epilog="Example: anytime runs rename runs/image-mnist-3 best")
def rename(
    run: RunArgument,
    name: Annotated[str, typer.Argument(help="Its new name. It stays in the same folder.", show_default=False)],
    json: output.JsonOption = False,
) -> None:
    """Give a run another name."""
    from anytime_core.run_folders import rename_run

    target = rename_run(run, name)
    if json:
        output.print_json({"run": str(target), "before": str(run)})
        return
    output.say(f"{shown(run)} is {shown(target)} now")


@app.command("compare", epilog="Example: anytime runs compare runs/image-digits-1 runs/image-digits-unordered-1")
def compare(
    first: Annotated[Path, typer.Argument(parser=option_types.path, help="A run folder.", show_default=False)],
    second: Annotated[Path, typer.Argument(parser=option_types.path, help="Another run folder.", show_default=False)],
    json: output.JsonOption = False,
) -> None:
    """Compare two runs: where their configs differ, and their validation results."""
    from anytime_core.run_folders import compare_runs

    comparison = compare_runs(first, second)
    if json:
        output.print_json({"runs": [str(first), str(second)], **vars(comparison)})
        return
    names = str(first), str(second)
    rows = [(key, *map(_cell, pair)) for key, pair in comparison.config.items()]
    output.print_table(("config", *names), rows, "their configs are the same")
    output.print_text()
    output.print_table(
        ("result", *names), [(key, *map(_cell, pair)) for key, pair in comparison.results.items()], "no results"
    )
    if comparison.same_data is False:
        output.say("they saw different data, so their results cannot be compared")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@app.command("prune", epilog="Example: anytime runs prune runs/image-mnist-1 --dry-run")
def prune(
    run: RunArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be freed. Remove nothing.")] = False,
    json: output.JsonOption = False,
) -> None:
    """Remove what sampling and evaluation do not need: checkpoints of finished stages, and all previews but the last.

    Without its checkpoint, a finished stage cannot be trained for more steps.
    """
    from anytime_core.run_folders import prune_run

    pruned = prune_run(run, dry_run=dry_run)
    freed = {name: vars(size) for name, size in vars(pruned).items()}
    if json:
        output.print_json({"run": str(run), "dry_run": dry_run, "freed": freed})
        return
    for name, size in freed.items():
        output.say(f"{name}: {size['files']:,} files, {_megabytes(size['bytes'])}")
    total = sum(size["bytes"] for size in freed.values())
    output.say(f"{'would free' if dry_run else 'freed'} {_megabytes(total)} of {shown(run)}")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
