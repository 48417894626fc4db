"""`anytime runs`: the runs here, and one of them in detail."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from anytime_cli import option_types, output

app = option_types.Commands(help="Runs: what they are and how far they got.")


@app.command("list", epilog="Example: anytime runs list --root experiments")
def list_(
    root: Annotated[
        Path, typer.Option(parser=option_types.path, metavar="<path>", help="Folder that holds run folders.")
    ] = Path("runs"),
    json: output.JsonOption = False,
) -> None:
    """Run folders, the latest last."""
    from anytime_core.errors import RunError
    from anytime_core.record import list_runs, read_record

    if root.exists() and not root.is_dir():
        raise RunError(f"{root} is not a folder: name one that holds run folders with --root")
    rows: list[dict[str, Any]] = []
    for folder in list_runs(root):
        try:
            record = read_record(folder)
        except RunError as error:
            rows.append({"run": str(folder), "problem": str(error)})
            continue
        rows.append(
            {
                "run": str(folder),
                "modality": record.modality,
                "recipe": record.recipe,
                "baseline": record.baseline,
                "code_length": record.code_length,
                "codebook_size": record.codebook_size,
                "stages": list(record.stages),
                "created": record.created,
                "problem": None,
            }
        )
    if json:
        output.print_json(rows)
        return
    output.print_table(
        ("run", "recipe", "codes", "codebook", "finished stages", "created"),
        [
            (row["run"], row["problem"], "", "", "", "")
            if row["problem"]
            else (
                row["run"],
                "-".join(filter(None, (row["recipe"], row["baseline"]))),
                row["code_length"],
                row["codebook_size"],
                ", ".join(row["stages"]) or "none",
                row["created"],
            )
            for row in rows
        ],
        f"no runs in {root}: train one with anytime train",
    )


@app.command("show", epilog="Example: anytime runs show runs/image-digits-1")
def show(
    run: Annotated[
        Path | None,
        typer.Argument(parser=option_types.path, help="Run folder. Default: the latest.", show_default=False),
    ] = None,
    json: output.JsonOption = False,
) -> None:
    """What a run is, what its stages cost, and what validation said."""
    from anytime_core.record import latest_run, read_record

    folder = run or latest_run(Path("runs"))
    record = read_record(folder)
    if json:
        output.print_json({"run": str(folder), **record.model_dump(mode="json")})
        return
    output.print_table(
        ("run", str(folder)),
        [
            ("recipe", record.recipe),
            *([("baseline", record.baseline)] if record.baseline else []),
            ("modality", f"{record.modality} ({record.plugin.distribution} {record.plugin.version})"),
            ("created", record.created),
            ("codes", f"{record.code_length} of {record.codebook_size}"),
            ("classes", ", ".join(record.classes) or "none"),
            *((f"stage {name}", f"{done.steps} steps in {done.seconds:.0f} s") for name, done in record.stages.items()),
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
    if prior is not None and prior.validation.bits_per_code is not None:
        output.print_text(f"\nprior: {prior.validation.bits_per_code:.3f} bits per code on validation data")
