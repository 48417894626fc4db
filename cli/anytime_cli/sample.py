"""`anytime sample`: new samples within a budget."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from anytime_cli import knobs, labels, option_types, output, progress, startup
from anytime_core.display import counted, shown
from anytime_core.errors import writing_to

EXAMPLES = """Examples:

anytime sample

anytime sample --budget 0.6

anytime sample --budget 200ms

anytime sample --run runs/image-mnist-1 --budget 12codes --num 64 --label index:7

anytime sample --label cat=10 --label dog=5

anytime sample --budget 0.6 --calls 10

anytime sample --num 4 --progressive --format flac

anytime sample --num 10000 --format npz --out arrays

anytime sample --num 1000000 --pack --shard 0/4 --out part0
"""


@knobs.with_knobs()
def sample(
    run: option_types.RunOption = None,
    budget: Annotated[
        str,
        typer.Option(
            help="Share of the codes (0.6 or 60%), number of codes (42codes), deadline for all samples (200ms, 1.5s), "
            "or adaptive: as many codes as each sample is worth."
        ),
    ] = "1.0",
    num: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=output.MOST_SAMPLES,
            help="Number of samples. Default: 16, or the counts of --label.",
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="Class of the samples, by name or by number, as in index:3. Default: each class in turn. May be "
            "repeated with a number of samples for each class, as in cat=10.",
            show_default=False,
        ),
    ] = None,
    sampling: Any = None,
    out: Annotated[
        Path | None,
        typer.Option(
            parser=option_types.path,
            metavar="<path>",
            help="Output folder. Default: <run>/samples/...",
            show_default=False,
        ),
    ] = None,
    overwrite: output.OverwriteOption = False,
    format: Annotated[
        str | None,
        typer.Option(
            help="Suffix of the files, such as png or flac, or npz for one file of numpy arrays. Default: "
            "the modality's own.",
            show_default=False,
        ),
    ] = None,
    progressive: Annotated[
        bool, typer.Option("--progressive", help="Also write each sample from five growing numbers of codes.")
    ] = False,
    pack: Annotated[
        bool, typer.Option("--pack", help="Write tar shards that WebDataset reads, not one file per sample.")
    ] = False,
    shard: Annotated[
        str | None, typer.Option(help="Draw one of n parts of the samples: 0/n, 1/n, ...", show_default=False)
    ] = None,
    device: Annotated[str, typer.Option(help="Device: auto, cpu, cuda, cuda:N or mps.")] = "auto",
    json: output.JsonOption = False,
) -> None:
    """Draw new samples from a trained run and write them as files, with a preview and samples.json.

    Ctrl-C ends a job early: what is drawn so far is decoded and written. A job that was killed instead, by a power cut
    or by kill -9, goes on with the same command.
    """
    startup.import_torch()
    from anytime_core.budget import Budget

    shard = _process_shard() if shard is None else shard
    part = _part(shard, num or output.MOST_SAMPLES)
    started = time.perf_counter()
    from anytime_core.jobs.records import SAMPLES_FILE
    from anytime_core.jobs.sampling import write_samples
    from anytime_core.run import load

    with output.chatter_to_stderr():
        opened = load(run, device=device)
        sampling, num = labels.labelled(sampling, num, label or (), opened)
        indices = _indices(num, *part)
        sampler = opened.sampler(sampling)
        parsed = Budget.parse(budget, sampler.spending)
        if parsed.seconds is not None:
            sampler.prepare(len(indices))
    load_seconds = time.perf_counter() - started
    choices = {**knobs.chosen(sampling), "label": labels.name(sampling, opened), "shard": shard}
    parts = [f"{key}{value}" for key, value in choices.items() if value is not None]
    name = "-".join([f"{parsed}-seed{sampling.seed}", *parts])
    name = name.replace("/", "of").replace(":", "")
    folder = out / name if out and _process_shard() else out or opened.folder / "samples" / name
    with (
        _stop_on_interrupt() as stopped,
        progress.bar("drawing") as advance,
        writing_to(folder, "--out"),
        output.chatter_to_stderr(),
    ):
        record = write_samples(
            opened,
            folder,
            indices,
            parsed,
            sampling,
            stopped=stopped.is_set,
            on_drawn=lambda done, drawn: advance(done, len(indices)),
            suffix=format,
            overwrite=overwrite or out is None,
            progressive=progressive,
            pack=pack,
            load_seconds=load_seconds,
        )
    fewest = 1 if progressive else record["drawn"]
    if said := opened.prefix_in_words(fewest):
        output.say(f"samples of fewer than {counted(opened.code_length, 'codes')} are: {said}")
    if json:
        output.print_file(folder / SAMPLES_FILE)
        return
    if record["interrupted"]:
        output.say(f"interrupted: wrote the {counted(record['num'], 'samples')} that were started")
    seconds = record["seconds"]
    place = folder / (record["preview"] or "")
    calls_shown = f" by {counted(record['calls'], 'calls')}" if record["calls"] != record["drawn"] else ""
    took = record["deadline"]["took"] if "deadline" in record else sum(seconds[part] for part in _PARTS)
    most = f"{'up to ' if parsed.unit == 'adaptive' else ''}{record['drawn']}"
    output.say(
        f"{counted(record['num'], 'samples')} of {most} of {record['code_length']} codes{calls_shown} in "
        f"{took:.2f} s: {shown(place)}"
    )
    if "deadline" in record:
        _say_whether_missed(**record["deadline"])


_PARTS = ("codes", "decode", "write")
"""The seconds in the record that are spent after loading."""


def _say_whether_missed(seconds: float, took: float) -> None:
    """Say by how much a deadline was missed, and what would have been enough."""
    if took > seconds:
        enough = math.ceil(took * 100) * 10
        output.say(
            f"missed the deadline of {1000 * seconds:g} ms by {1000 * (took - seconds):.0f} ms: "
            f"--budget {enough}ms would have been enough, or fewer samples"
        )


def _process_shard() -> str | None:
    """The part of this process if torchrun or accelerate launch started several, else None."""
    from anytime_core.distributed import launched

    rank, processes = launched()
    return f"{rank}/{processes}" if processes > 1 else None


def _part(shard: str | None, most: int) -> tuple[int, int]:
    """i and n of `i/n`; the only part, (0, 1), if there is no shard. At most `most` shards are suggested."""
    from anytime_core.errors import UsageError

    if shard is None:
        return 0, 1
    index, _, count = shard.partition("/")
    written = index.isdecimal() and count.isdecimal() and shard.isascii()
    if written and max(len(index), len(count)) > len(str(output.MOST_SAMPLES)):
        raise UsageError(f"--shard {shard[:40]}... has too many digits: use at most {most} shards")
    if not (written and int(index) < int(count)):
        raise UsageError(f"--shard '{shard}' is not of the form i/n with 0 <= i < n, such as 0/4")
    return int(index), int(count)


def _indices(num: int, part: int, parts: int) -> range:
    """The global indices of part i of n: i, i + n, i + 2n, ..."""
    from anytime_core.errors import UsageError

    if parts > num:
        raise UsageError(f"--shard {part}/{parts} of {num} samples: use at most {num} shards, or some are empty")
    return range(part, num, parts)


@contextlib.contextmanager
def _stop_on_interrupt() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C or SIGTERM sets; the second one ends the program."""
    event = threading.Event()

    def stop(number: int, frame: object) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
