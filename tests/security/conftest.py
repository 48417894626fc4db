"""Copies of tiny runs to spoil, and a watch over everything that is written."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC
_CHANGED = {
    "os.rename": (0, 1),
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.mkdir": (0,),
    "os.symlink": (1,),
    "os.link": (1,),
    "os.truncate": (0,),
    "os.chmod": (0,),
}
"""Events with the positions of the paths that they change."""
_watched: list[list[Path]] = []


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if not _watched:
        return
    if event == "open" and isinstance(arguments[0], str | bytes) and isinstance(arguments[2], int):
        paths = arguments[:1] if arguments[2] & _WRITING else ()
    else:
        paths = tuple(arguments[position] for position in _CHANGED.get(event, ()))
    # Opening follows a link, while removing and replacing change the link itself.
    for path in map(os.fsdecode, (path for path in paths if isinstance(path, str | bytes))):
        folder, name = os.path.split(path)
        resolved = os.path.realpath(path) if event == "open" else os.path.join(os.path.realpath(folder), name)
        if os.path.isabs(path):  # a relative one may belong to an open folder
            _watched[-1].append(Path(resolved))


sys.addaudithook(_note)


@pytest.fixture(autouse=True)
def _nothing_is_written_outside(tmp_path: Path) -> Iterator[None]:
    """Whatever a test opens, it changes nothing outside its own folder."""
    written: list[Path] = []
    _watched.append(written)
    yield
    _watched.pop()
    allowed = (tmp_path.resolve(), Path("/dev/null"), Path(__file__).parents[2].resolve() / ".hypothesis")
    outside = [path for path in written if "__pycache__" not in path.parts and not _within(path, allowed)]
    assert not outside


def _within(path: Path, places: tuple[Path, ...]) -> bool:
    return any(path == place or place in path.parents for place in places)


@pytest.fixture
def run_copy(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "run"))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder with a file that is no part of any run, and must stay as it is."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "precious").write_text("precious")
    yield folder
    assert [path.name for path in folder.iterdir()] == ["precious"]
    assert (folder / "precious").read_text() == "precious"
