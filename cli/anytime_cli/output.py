"""What commands print: results on stdout, everything for people to watch on stderr."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import logging
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer


class Advance(Protocol):
    """Moves a progress bar."""

    def __call__(self, done: int, total: int, now: str = ..., /) -> None:
        """How much is done of how much there is, and what is being done now."""
        ...


JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]

FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format", help="Suffix of the files, such as png or flac. Default: the modality's own.", show_default=False
    ),
]

OverwriteOption = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Replace what an earlier call wrote to --out, all of it; files of your own are never replaced.",
    ),
]

GuidanceOption = Annotated[
    float,
    typer.Option(
        help="How far class labels lead: 1 leaves the prior as it is, above 1 samples are more typical of their class "
        "and less varied. Needs a prior trained with prior.label_dropout."
    ),
]
PlanOption = Annotated[
    str,
    typer.Option(
        "--plan",
        help="How codes are shared among network calls: optimal, linear, or certain (those first that the prior is "
        "most certain of).",
    ),
]


MOST_SAMPLES = 10**12
"""More than any job will ever draw, and few enough for every counter."""


def say(message: str) -> None:
    """A line for people, on stderr."""
    typer.echo(message, err=True)


def error(message: str) -> None:
    """What went wrong, on stderr; further lines are indented."""
    first, *rest = message.splitlines() or [""]
    label = typer.style("error:", fg="red", bold=True)
    typer.echo("\n".join([f"{label} {first}", *(f"       {line}" for line in rest)]), err=True)


class LogToStderr(logging.Handler):
    """Shows warnings of every library, and what the toolkit and its plugins say for people to know."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line for one record."""
        if record.levelno >= logging.WARNING:
            say(f"warning: {record.getMessage()}")
        elif record.name.startswith("anytime"):
            say(record.getMessage())


def print_json(value: Any) -> None:
    """One JSON value on stdout."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def print_file(path: Path) -> None:
    """A text file on stdout, however long it is."""
    with path.open(encoding="utf-8") as file:
        shutil.copyfileobj(file, sys.stdout)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """A table on stdout, or the sentence `empty` on stderr where there are no rows."""
    if not rows:
        say(empty)
        return
    from rich.console import Console
    from rich.table import Table

    # A pipe has no width: let rows be as long as they are.
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console.print(table)


@contextlib.contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """An output folder that cannot be written to is one line that says how to choose another."""
    from anytime_core.errors import AnytimeError

    try:
        yield
    except OSError as problem:
        room = "make room there, or " if problem.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise AnytimeError(
            f"cannot write to {folder}: {problem.strerror or problem}; {room}choose another --out"
        ) from problem


def value_of(options: Sequence[str], arguments: Sequence[str]) -> str | None:
    """What `arguments` give for the first of `options`, which may be different names of one; None where they do not."""
    for argument, following in itertools.pairwise([*arguments, ""]):
        name, equals, value = argument.partition("=")
        if name in options:
            return value if equals else following
    return None


@contextlib.contextmanager
def chatter_to_stderr() -> Iterator[None]:
    """Libraries that print, such as downloads, do it on stderr while this is open."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


@contextlib.contextmanager
def progress_bar(activity: str) -> Iterator[Advance]:
    """A bar of what is done and of all there is to do, on stderr, on a terminal only."""
    if not sys.stderr.isatty():
        yield lambda done, total, now=activity: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(activity)
        yield lambda done, total, now=activity: progress.update(task, completed=done, total=total, description=now)
