"""Writing files and folders: all of it appears, or nothing does."""

from __future__ import annotations

import errno
import json
import stat
from pathlib import Path

import pytest

from anytime_core.files import filling, replacing, write_json, write_text

FAILURES = pytest.mark.parametrize(
    "failure",
    [ValueError("wrong"), OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()],
    ids=["error", "disk-full", "interrupt"],
)


def snapshot(folder: Path) -> dict[str, str | None]:
    """Everything below a folder: contents of files, None for folders."""
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize("old", [None, "old"])
def test_a_file_appears_whole_when_the_block_ends(old, tmp_path):
    path = tmp_path / "numbers.txt"
    if old is not None:
        path.write_text(old)
    before = snapshot(tmp_path)
    with replacing(path) as temporary:
        assert temporary.parent == path.parent, "renaming must not cross file systems"
        assert temporary.suffix == path.suffix
        temporary.write_text("half")
        assert {name: text for name, text in snapshot(tmp_path).items() if name != temporary.name} == before
        temporary.write_text("whole")
    assert snapshot(tmp_path) == {"numbers.txt": "whole"}


@FAILURES
@pytest.mark.parametrize("old", [None, "old"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(old, failure, tmp_path):
    path = tmp_path / "numbers.txt"
    if old is not None:
        path.write_text(old)
    before = snapshot(tmp_path)

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise failure

    with pytest.raises(type(failure)):
        write_half()
    assert snapshot(tmp_path) == before


def test_a_block_that_writes_nothing_is_an_error_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "numbers.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert snapshot(tmp_path) == {"numbers.txt": "old"}


def test_text_is_written_as_utf8(tmp_path):
    write_text(tmp_path / "text", "größer 大\n")
    assert (tmp_path / "text").read_bytes() == "größer 大\n".encode()


def test_json_is_read_back_in_the_given_order(tmp_path):
    value = {"b": [1, 2.5, None], "a": {"nested": True}}
    write_json(tmp_path / "value.json", value)
    text = (tmp_path / "value.json").read_text()
    assert json.loads(text) == value
    assert text.index('"b"') < text.index('"a"')


@pytest.mark.parametrize("value", [float("nan"), object()], ids=["nan", "object"])
def test_what_is_no_json_changes_nothing(value, tmp_path):
    write_json(tmp_path / "value.json", {"old": 1})
    before = snapshot(tmp_path)
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "value.json", {"new": value})
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", ["out", "some/where/out"])
def test_a_new_folder_appears_with_all_its_files_when_the_block_ends(name, tmp_path):
    folder = tmp_path / name
    with filling(folder) as partial:
        (partial / "a.txt").write_text("a")
        assert not folder.exists()
        (partial / "inner").mkdir()
        (partial / "inner" / "b.txt").write_text("b")
    assert snapshot(folder) == {"a.txt": "a", "inner": None, "inner/b.txt": "b"}
    assert [path.name for path in folder.parent.iterdir()] == ["out"]


def test_an_existing_folder_keeps_its_other_files(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "kept.txt").write_text("kept")
    (folder / "replaced.txt").write_text("old")
    with filling(folder) as partial:
        (partial / "replaced.txt").write_text("new")
        (partial / "added.txt").write_text("added")
        assert snapshot(folder) == {"kept.txt": "kept", "replaced.txt": "old"}
    assert snapshot(tmp_path) == {
        "out": None,
        "out/added.txt": "added",
        "out/kept.txt": "kept",
        "out/replaced.txt": "new",
    }


@FAILURES
@pytest.mark.parametrize("name", ["out", "new", "new/parents/out", "out/new/parents/out"])
def test_a_failure_leaves_neither_files_nor_folders_behind(name, failure, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "replaced.txt").write_text("old")
    before = snapshot(tmp_path)

    def fill_half() -> None:
        with filling(tmp_path / name) as partial:
            (partial / "replaced.txt").write_text("new")
            (partial / "inner").mkdir()
            raise failure

    with pytest.raises(type(failure)):
        fill_half()
    assert snapshot(tmp_path) == before


def test_a_failure_keeps_a_parent_that_something_else_was_put_into(tmp_path):
    def fail() -> None:
        with filling(tmp_path / "new" / "out"):
            (tmp_path / "new" / "other.txt").write_text("of another process")
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        fail()
    assert snapshot(tmp_path) == {"new": None, "new/other.txt": "of another process"}


def test_a_filled_folder_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "plain").mkdir()
    with filling(tmp_path / "out") as partial:
        (partial / "a.txt").write_text("a")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "out")]
    assert modes[0] == modes[1]
