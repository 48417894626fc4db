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
        help="Replace everything that an earlier call wrote to --out. Your own files are never replaced.",
    ),
]

MOST_SAMPLES = 10**12
"""More than any job will ever draw, and small enough for every counter."""


class ReaderGoneError(Exception):
    """The program that read standard output has ended, such as `head`: nobody reads what is printed."""


class _Stream(io.FileIO):
    """What standard output or standard error writes to.

    If lines for people cannot be written, the command goes on. If a result cannot be written, that is one error.
    """

    def __init__(self, number: int, *, result: bool) -> None:
        super().__init__(number, "w", closefd=False)
        self.result, self.failed = result, False

    def write(self, data: Any, /) -> int:
        """Write as to any file. After the first failure nothing more is written."""
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
    """Open each standard stream that the shell closed. Let none fail on a character or because its reader is gone."""
    for number in range(3):
        # Otherwise the next file that is opened would get its number, and printed text would end up in that file.
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
            continue  # it was replaced already, such as by a test
        raw = _Stream(number, result=number == 1)
        replaced = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=stream.encoding if stream else "utf-8",
            errors="backslashreplace",
            line_buffering=number == 2 or raw.isatty(),
        )
        setattr(sys, name, replaced)


def say(message: str) -> None:
    """Print lines for people on stderr."""
    sys.stderr.write(f"{_shown_lines(message)}\n")
    sys.stderr.flush()


def error(message: str) -> None:
    """Print what went wrong on stderr; further lines are indented."""
    label = "\x1b[1;31merror:\x1b[0m" if sys.stderr.isatty() else "error:"
    sys.stderr.write(f"{label} {_shown_lines(message, '       ')}\n")
    sys.stderr.flush()


class LogToStderr(logging.Handler):
    """Shows warnings of every library, and what the toolkit and its plugins log for people."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line for one record."""
        if record.levelno >= logging.WARNING:
            say(f"warning: {record.getMessage()}")
        elif record.name.startswith("anytime"):
            say(record.getMessage())


def note_warning(message: Warning | str, *place: object, **more: object) -> None:
    """Replace `warnings.showwarning`: warnings of libraries are for programmers, only those of CUDA are for users."""
    level = logging.WARNING if "CUDA" in str(message) else logging.DEBUG
    logging.getLogger("py.warnings").log(level, "%s", str(message).partition("\n")[0])


def print_text(text: str = "") -> None:
    """Print lines on stdout."""
    sys.stdout.write(f"{_shown_lines(text)}\n")


def print_json(value: Any) -> None:
    """Print one JSON value on stdout."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def print_file(path: Path) -> None:
    """Print a text file of any length on stdout."""
    with path.open(encoding="utf-8") as file:
        shutil.copyfileobj(file, sys.stdout)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """Print a table on stdout, or the sentence `empty` on stderr if there are no rows."""
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
    """The column numbers of each part of a table, so that no cell is broken. Each part starts with the first column.

    A column that is wider than the screen gets a part of its own, in which its cells are broken.
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
    """`text` for help, which is in rich's markup: brackets are shown as brackets."""
    from rich.markup import escape

    return escape(shown(text))


def _shown_lines(text: str, indent: str = "") -> str:
    """A text whose lines are safe to show, those after the first one indented."""
    return f"\n{indent}".join(shown(line) for line in text.split("\n"))


def value_of(options: Sequence[str], arguments: Sequence[str]) -> str | None:
    """The value that `arguments` give for an option, which has the names `options`; None if they do not give it."""
    return next(values_of(options, arguments), None)


def values_of(options: Sequence[str], arguments: Sequence[str]) -> Iterator[str]:
    """All values that `arguments` give for an option that may be repeated, see `value_of`."""
    for argument, following in itertools.pairwise([*arguments, ""]):
        name, equals, value = argument.partition("=")
        if name in options:
            yield value if equals else following


@contextlib.contextmanager
def chatter_to_stderr() -> Iterator[None]:
    """While this is open, libraries that print, such as downloads, print on stderr."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
