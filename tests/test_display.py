"""What commands print: names of others as they are, never obeyed, and streams that are closed, full or poor."""

from __future__ import annotations

import errno
import io
import logging
import os
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from anytime_cli import main, option_types, output, progress
from anytime_core.display import counted, shown
from anytime_core.errors import AnytimeError, system_reason, writing_to

NAMES = {
    "run[a]": "run[a]",
    "[/x] [bold]b[/bold]": "[/x] [bold]b[/bold]",
    ":smile: C:\\new": ":smile: C:\\new",
    "Größe 図": "Größe 図",
    "\x1b[31mred\x1b[0m": r"\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07": r"\x1b]0;title\x07",
    "a\rb\tc\x0b\x85": r"a\rb\tc\x0b\x85",
    "\u202egnp.exe": r"\u202egnp.exe",
    "\u200b\u2028\u2029": r"\u200b\u2028\u2029",
    "caf\udce9": r"caf\udce9",
}
"""Names, and how they are shown."""


@pytest.mark.parametrize(("name", "expected"), [*NAMES.items(), ("two\nlines", r"two\nlines"), (3, "3")])
def test_what_would_control_a_terminal_stands_as_an_escape(name, expected):
    assert shown(name) == expected


@pytest.mark.parametrize(("name", "expected"), NAMES.items())
def test_names_are_shown_as_they_are_wherever_they_stand(name, expected, capsys):
    output.print_table((name, "b"), [(name, 1), (None, name)], "")
    output.print_text(name)
    table = capsys.readouterr().out.split("\n")
    assert [line.split("  ")[0].rstrip() for line in table] == [expected, expected, "", expected, ""]
    assert table[2].strip() == expected
    output.say(f"{name}\n{name}")
    output.error(f"{name}\n{name}")
    for level, logger in ((logging.WARNING, "other"), (logging.INFO, "anytime_core")):
        output.LogToStderr().emit(logging.LogRecord(logger, level, "", 0, "%s", (name,), None))
    assert capsys.readouterr().err.split("\n") == [
        *(expected, expected, f"error: {expected}", f"       {expected}"),
        *(f"warning: {expected}", expected, ""),
    ]


class Terminal(io.StringIO):
    """Remembers what is shown on it."""

    def isatty(self) -> bool:
        return True


def test_a_progress_bar_shows_names_as_they_are(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with progress.bar("drawing") as advance:
        advance(3, 70, "of [/x] \x1b[5m")
    assert r"of [/x] \x1b[5m" in sys.stderr.getvalue()


@pytest.mark.parametrize("name", ["run[a]", "[/x]", "[bold]x[/bold]", "\x1b[2Jx"])
def test_a_list_of_runs_names_each_as_it_is_called(name, anytime, tmp_path):
    (tmp_path / "runs" / name).mkdir(parents=True)
    for folder in (tmp_path / "runs" / name).iterdir() if "/" in name else ():
        folder.mkdir(exist_ok=True)
    (tmp_path / "runs" / name / "run.json").write_text("{}")
    result = anytime("runs", "list", "--root", f"runs/{name.rpartition('/')[0]}".rstrip("/"))
    assert result.status == 0
    assert result.out.splitlines()[1].startswith(f"runs/{shown(name)}  ")


def test_help_shows_brackets_of_a_plugins_descriptions():
    from rich.text import Text

    line = "a.b=[1, 2]  [/x] \\[y] [bold]z[/bold] \x1b"
    assert Text.from_markup(output.without_markup(line)).plain == line.replace("\x1b", r"\x1b")


@pytest.mark.parametrize(
    ("count", "things", "expected"),
    [
        (0, "files", "0 files"),
        (1, "files", "1 file"),
        (1, "empty images", "1 empty image"),
        (1, "classes", "1 class"),
        (1, "shards of classes", "1 shard of classes"),
        (1, "files with suffix .heic, which is not read", "1 file with suffix .heic, which is not read"),
        (2000, "codes", "2,000 codes"),
    ],
)
def test_one_thing_is_named_in_the_singular(count, things, expected):
    assert counted(count, things) == expected


# Streams


@pytest.fixture
def broken(request) -> Iterator[int]:
    """A file descriptor that cannot be written to: its reader has ended, or its disk is full."""
    if request.param == "pipe":
        reading, number = os.pipe()
        os.close(reading)
    elif not os.path.exists("/dev/full"):
        pytest.skip("no device that is full")
    else:
        number = os.open("/dev/full", os.O_WRONLY)
    yield number
    os.close(number)


@pytest.mark.parametrize(
    ("broken", "expected"),
    [("pipe", output.ReaderGoneError), ("full", AnytimeError)],
    indirect=["broken"],
    ids=["pipe", "full"],
)
def test_a_result_that_cannot_be_printed_is_one_error(broken, expected):
    stream = io.TextIOWrapper(io.BufferedWriter(output._Stream(broken, result=True)))
    stream.write("x")
    with pytest.raises(expected):
        stream.flush()
    stream.write("y")
    stream.close()


@pytest.mark.parametrize("broken", ["pipe", "full"], indirect=True)
def test_lines_for_people_end_no_command(broken):
    with io.TextIOWrapper(io.BufferedWriter(output._Stream(broken, result=False))) as stream:
        stream.write("x")
        stream.flush()


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("recipes list >&-", 0),
        ("smaple 2>&-", 2),
        ("plugins list >&- 2>&- <&-", 0),
        ("train --help | head -0", 0),
        ("runs show missing >&- 2>&-", 1),
    ],
)
def test_closed_streams_end_no_command_as_a_bug(command, status, tmp_path):
    done = _in_shell(command, tmp_path)
    assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_what_an_encoding_lacks_is_shown_as_an_escape(encoding, tmp_path):
    (tmp_path / "runs" / "図").mkdir(parents=True)
    (tmp_path / "runs" / "図" / "run.json").write_text("{}")
    done = _in_shell("runs list", tmp_path, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].startswith(r"runs/\u56f3  ")
    done = _in_shell("train --help", tmp_path, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")


def _in_shell(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    call = f'"$PYTHON" -m anytime_cli.main {command}'
    variables = {**os.environ, "PYTHON": sys.executable, **environment}
    return subprocess.run(["sh", "-c", call], capture_output=True, text=True, cwd=folder, env=variables, check=False)


# Errors of the system


@pytest.mark.parametrize(
    ("number", "way_out"),
    [
        (errno.EISDIR, "Is a directory, where a file is wanted"),
        (errno.ENOSPC, "No space left on device: make room there"),
        (errno.EACCES, "Permission denied: ask its owner"),
        (errno.ENAMETOOLONG, "File name too long: choose a shorter one"),
        (errno.ELOOP, "Too many levels of symbolic links: they lead in a circle"),
        (errno.EROFS, "Read-only file system: name a place on another disk"),
    ],
)
def test_errors_of_the_system_name_the_file_and_the_way_out(number, way_out, anytime, monkeypatch):
    for filename in ("some/file", b"some/file"):
        error = OSError(number, os.strerror(number), filename)
        assert system_reason(error).startswith(way_out)
        assert main._explain(error, []) == (f"some/file: {system_reason(error)}", 1)
    message, _ = main._explain(OSError(number, os.strerror(number)), [])
    assert way_out in message
    assert message.startswith("a file, here or in ")


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("a/b", "No such file or directory: there is no folder a"),
        (b"a/b", "No such file or directory: there is no folder a"),
        ("b", "No such file or directory"),
    ],
)
def test_of_a_missing_file_the_missing_folder_is_named(filename, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert system_reason(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), filename)) == expected


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        (None, "cannot write to a/out: No space left on device: "),
        ("a/out/x.png", "cannot write to a/out: No space left on device: "),
        (b"a/out/x.png", "cannot write to a/out: No space left on device: "),
        ("a", "cannot write to a/out: No space left on device: "),
        ("elsewhere/x.png", "elsewhere/x.png: No space left on device: "),
    ],
)
def test_a_full_disk_is_that_of_the_file_that_is_written(filename, expected):
    with pytest.raises(AnytimeError) as refused, writing_to(Path("a/out"), "--out"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), filename)
    assert str(refused.value).startswith(expected)
    assert str(refused.value).endswith("choose another --out") == expected.startswith("cannot")


# Paths of all commands


def _parameters(group: typer.Typer) -> Iterator[tuple[str, Any]]:
    """Name and annotation of every parameter of every command."""
    for command in group.registered_commands:
        for name, annotation in typing.get_type_hints(command.callback, include_extras=True).items():
            yield f"{command.callback.__module__}.{command.callback.__name__}.{name}", annotation
    for below in group.registered_groups:
        yield from _parameters(below.typer_instance)


def test_every_path_of_every_command_knows_home_folders():
    paths = {name: annotation for name, annotation in _parameters(main.app) if "pathlib.Path" in str(annotation)}
    assert {"anytime_cli.sample.sample.out", "anytime_cli.runs.list_.root"} <= set(paths)
    without = [
        name
        for name, annotation in paths.items()
        if not any(getattr(one, "parser", None) is option_types.path for one in annotation.__metadata__)
    ]
    assert without == []


def test_every_command_refuses_an_option_that_is_given_twice():
    def commands(group: Any) -> Iterator[Any]:
        for command in group.commands.values():
            yield from commands(command) if hasattr(command, "commands") else [command]

    found = list(commands(typer.main.get_command(main.app)))
    assert len(found) > 8
    assert [command.name for command in found if not isinstance(command, option_types.Command)] == []


def test_a_tilde_is_a_home_folder_wherever_a_path_is_given(anytime, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    assert anytime("recipes", "copy", "image/digits", "~/mine.yaml").status == 0
    assert (home / "mine.yaml").is_file()
    assert anytime("recipes", "copy", "image/digits", "./~").status == 0
    assert (tmp_path / "~").is_file()
    for call in (
        ("sample", "--run=~/x"),
        ("train", "--resume", "~/x"),
        ("evaluate", "--run", "~/x"),
        ("runs", "show", "~/x"),
    ):
        assert f"no run at {home}/x;" in anytime(*call).err
    for call in (("train", "--config", "~/none.yaml"), ("plugins", "check", "image", "--config=~/none.yaml")):
        assert f"cannot read config {home}/none.yaml: No such file" in anytime(*call).err


@pytest.mark.parametrize(
    ("width", "blocks"), [(80, [[0, 1, 2, 3]]), (20, [[0, 1], [0, 2, 3]]), (3, [[0, 1], [0, 2], [0, 3]])]
)
def test_a_table_that_is_too_wide_goes_on_below_and_breaks_no_cell(width, blocks):
    columns, rows = ("codes", "a", "b", "c"), [("16", "1234567890", "12345", "12")]
    assert output._blocks(columns, rows, width) == blocks
    assert all(
        sum(max(len(columns[index]), len(rows[0][index])) + 2 for index in block) - 2 <= width
        for block in blocks
        if width > 3
    )
