"""What commands print: results on stdout, everything for people to watch on stderr."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from anytime_core.display import shown
from anytime_core.errors import AnytimeError, system_reason

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

MOST_SAMPLES = 10**12
"""More than any job will ever draw, and few enough for every counter."""


class ReaderGoneError(Exception):
    """Whoever read standard output has ended, such as `head`: there is nobody to tell anything."""


class _Stream(io.FileIO):
    """What standard output or standard error writes to.

    Lines for people never end a command, wherever they go. That a result cannot be written is one error.
    """

    def __init__(self, number: int, *, result: bool) -> None:
        super().__init__(number, "w", closefd=False)
        self.result, self.failed = result, False

    def write(self, data: Any, /) -> int:
        """As of every file, until it fails; then nothing is written any more."""
        try:
            return memoryview(data).nbytes if self.failed else super().write(data)
        except OSError as problem:
            self.failed = True
            if not self.result:
                return memoryview(data).nbytes
            if problem.errno == errno.EPIPE:
                raise ReaderGoneError from None
            raise AnytimeError(f"cannot print on standard output: {system_reason(problem)}") from problem


def prepare_streams() -> None:
    """Let every stream be there, as a shell may have closed it, and let none fail for a character or a lost reader."""
    for number in range(3):
        # Otherwise the next file that is opened would take its number, and be written to by whatever prints.
        with contextlib.suppress(OSError):
            os.fstat(number)
            continue
        opened = os.open(os.devnull, os.O_RDWR)
        if opened != number:
            os.dup2(opened, number)
            os.close(opened)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__"):
            continue  # somebody looks at it, such as a test
        raw = _Stream(number, result=number == 1)
        replaced = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=stream.encoding if stream else "utf-8",
            errors="backslashreplace",
            line_buffering=number == 2 or raw.isatty(),
        )
        setattr(sys, name, replaced)


def say(message: str) -> None:
    """Lines for people, on stderr."""
    sys.stderr.write(f"{_shown_lines(message)}\n")
    sys.stderr.flush()


def error(message: str) -> None:
    """What went wrong, on stderr; further lines are indented."""
    label = "\x1b[1;31merror:\x1b[0m" if sys.stderr.isatty() else "error:"
    sys.stderr.write(f"{label} {_shown_lines(message, '       ')}\n")
    sys.stderr.flush()


class LogToStderr(logging.Handler):
    """Shows warnings of every library, and what the toolkit and its plugins say for people to know."""

    def emit(self, record: logging.LogRecord) -> None:
        """One line for one record."""
        if record.levelno >= logging.WARNING:
            say(f"warning: {record.getMessage()}")
        elif record.name.startswith("anytime"):
            say(record.getMessage())


def note_warning(message: Warning | str, *place: object, **more: object) -> None:
    """In place of `warnings.showwarning`: libraries warn programmers, and drivers alone people who type commands."""
    level = logging.WARNING if "CUDA" in str(message) else logging.DEBUG
    logging.getLogger("py.warnings").log(level, "%s", str(message).partition("\n")[0])


def print_text(text: str = "") -> None:
    """Lines on stdout."""
    sys.stdout.write(f"{_shown_lines(text)}\n")


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
    from rich.text import Text

    # A pipe has no width: let rows be as long as they are.
    console = Console() if sys.stdout.isatty() else Console(width=10_000)
    texts = [["" if cell is None else shown(cell) for cell in row] for row in rows]
    for number, block in enumerate(_blocks([shown(column) for column in columns], texts, console.width)):
        if number:
            console.print()
        table = Table(box=None, pad_edge=False, header_style="bold")
        for index in block:
            table.add_column(Text(shown(columns[index])), overflow="fold")
        for row in texts:
            table.add_row(*(Text(row[index]) for index in block))
        console.print(table)


def _blocks(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> list[list[int]]:
    """Numbers of the columns of each part of a table, so that no cell is broken; each has the first column too.

    A column that is wider than there is room for is broken all the same, in a part of its own.
    """
    widths = [max(len(line[index]) for line in (columns, *rows)) for index in range(len(columns))]
    blocks: list[list[int]] = [[0]]
    for index in range(1, len(columns)):
        taken = sum(widths[other] + 2 for other in blocks[-1])
        if taken + widths[index] > width and len(blocks[-1]) > 1:
            blocks.append([0])
        blocks[-1].append(index)
    return blocks


def without_markup(text: str) -> str:
    """`text` for help, which is in rich's markup: brackets stand for themselves."""
    from rich.markup import escape

    return escape(shown(text))


def _shown_lines(text: str, indent: str = "") -> str:
    """Every line of a text as it can be shown, those after the first one indented."""
    return f"\n{indent}".join(shown(line) for line in text.split("\n"))


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
