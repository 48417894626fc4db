"""`anytime reconstruct`: a user's own files, encoded and decoded again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from anytime_cli import option_types, output, progress, startup
from anytime_core.display import counted, shown
from anytime_core.errors import writing_to

if TYPE_CHECKING:
    from anytime_core.modality import Restored

EXAMPLES = """Examples:

anytime reconstruct photo.png

anytime reconstruct *.png --budget 25% --out coarse

anytime reconstruct photo.jpg --original-size

anytime reconstruct concert.mp3 --run runs/audio-folder-1 --format flac --keep-rate
"""


def reconstruct(
    files: Annotated[
        list[Path], typer.Argument(parser=option_types.path, help="Files of the run's modality.", show_default=False)
    ],
    run: option_types.RunOption = None,
    budget: Annotated[str, typer.Option(help="Share of the codes (0.6 or 60%) or number of codes (42codes).")] = "1.0",
    out: Annotated[
        Path | None,
        typer.Option(
            parser=option_types.path,
            metavar="<path>",
            help="Output folder. Default: <run>/reconstructions/...",
            show_default=False,
        ),
    ] = None,
    overwrite: output.OverwriteOption = False,
    format: output.FormatOption = None,
    original_size: Annotated[
        bool,
        typer.Option(
            "--original-size",
            help="Write pictures at their original size. Parts that data.fit cut off are background.",
        ),
    ] = False,
    keep_rate: Annotated[
        bool, typer.Option("--keep-rate", help="Write sounds at their original sample rate, not the run's.")
    ] = False,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, cuda, cuda:N or mps.")] = "auto",
    json: output.JsonOption = False,
) -> None:
    """Encode files, keep as many codes as the budget allows, and write what they decode to."""
    startup.import_torch()
    restore = _restored(original_size=original_size, keep_rate=keep_rate)
    from anytime_core.budget import Budget
    from anytime_core.jobs.reconstruction import write_reconstructions
    from anytime_core.jobs.records import PREVIEW_FILE
    from anytime_core.run import load

    with output.chatter_to_stderr():
        opened = load(run, device=device)
    parsed = Budget.parse(budget, opened.coding)
    name = f"{parsed}-{restore}" if restore else str(parsed)
    folder = out or opened.folder / "reconstructions" / name
    with (
        progress.bar("reconstructing") as advance,
        writing_to(folder, "--out"),
        output.chatter_to_stderr(),
    ):
        record = write_reconstructions(
            opened,
            folder,
            files,
            parsed,
            suffix=format,
            restore=restore,
            overwrite=overwrite or out is None,
            on_samples=advance,
        )
    if said := opened.prefix_in_words(record["codes"]):
        output.say(f"samples of fewer than {counted(opened.code_length, 'codes')} are: {said}")
    if json:
        output.print_json(record)
        return
    for entry in record["reconstructions"]:
        measures = "  ".join(f"{name} {value:.4g}" for name, value in entry["metrics"].items())
        output.say(f"{shown(folder / entry['file'])}  {measures}")
    output.say(f"{record['codes']} of {record['code_length']} codes: {shown(folder / PREVIEW_FILE)}")


def _restored(*, original_size: bool, keep_rate: bool) -> Restored | None:
    """Which property of the files is restored, None if none is. Raises UsageError if both are asked for."""
    from anytime_core.errors import UsageError

    if original_size and keep_rate:
        raise UsageError("--original-size is for pictures, --keep-rate is for sounds: leave one of them out")
    return "size" if original_size else "rate" if keep_rate else None
