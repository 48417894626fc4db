"""`anytime reconstruct`: a user's own files through the autoencoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from anytime_cli import option_types, output, progress, startup
from anytime_core.display import shown

EXAMPLES = """Examples:

anytime reconstruct photo.png

anytime reconstruct *.png --budget 25% --out coarse

anytime reconstruct concert.mp3 --run runs/audio-folder-1 --format flac
"""


def reconstruct(
    files: Annotated[
        list[Path], typer.Argument(parser=option_types.path, help="Files of the run's modality.", show_default=False)
    ],
    run: option_types.RunOption = None,
    budget: Annotated[str, typer.Option(help="Share of the codes (0.6 or 60%) or number of them (42codes).")] = "1.0",
    out: Annotated[
        Path | None,
        typer.Option(
            parser=option_types.path,
            metavar="<path>",
            help="Output folder. Default: <run>/reconstructions/<budget>",
            show_default=False,
        ),
    ] = None,
    overwrite: output.OverwriteOption = False,
    format: output.FormatOption = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    json: output.JsonOption = False,
) -> None:
    """Encode files, keep as many codes as the budget buys, and write what they decode to."""
    startup.import_torch()
    from anytime_core.sampling.budget import Budget

    parsed = Budget.parse(budget)
    from anytime_core.run import load
    from anytime_core.sampling.reconstruct import write_reconstructions
    from anytime_core.sampling.records import PREVIEW_FILE

    with output.chatter_to_stderr():
        opened = load(run, device=device)
    folder = out or opened.folder / "reconstructions" / str(parsed)
    with (
        progress.bar("reconstructing") as advance,
        output.writing_to(folder),
        output.chatter_to_stderr(),
    ):
        record = write_reconstructions(
            opened,
            folder,
            files,
            parsed,
            suffix=format,
            overwrite=overwrite or out is None,
            on_samples=advance,
        )
    if json:
        output.print_json(record)
        return
    for entry in record["reconstructions"]:
        measures = "  ".join(f"{name} {value:.4g}" for name, value in entry["metrics"].items())
        output.say(f"{shown(folder / entry['file'])}  {measures}")
    output.say(f"{record['codes']} of {record['code_length']} codes: {shown(folder / PREVIEW_FILE)}")
