"""Writing files and folders: all of it appears, or nothing does."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from anytime_core.data import files, reading
from anytime_core.data.files import (
    filling,
    locked,
    naming,
    open_own,
    remove_partial_files,
    replacing,
    write_json,
    write_text,
)
from anytime_core.data.reading import open_regular, read_limited, require_regular_file
from anytime_core.errors import UsageError

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
        assert temporary.parent.parent == path.parent, "renaming must not cross file systems"
        assert temporary.name == path.name
        assert stat.S_IMODE(temporary.parent.stat().st_mode) == 0o700, "nobody else may plant a link there"
        temporary.write_text("half")
        others = {name: text for name, text in snapshot(tmp_path).items() if not name.startswith(".partial-")}
        assert others == before
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
@pytest.mark.parametrize("job", [None, "job"])
@pytest.mark.parametrize("name", ["out", "new", "new/parents/out", "out/new/parents/out"])
def test_a_failure_leaves_neither_files_nor_folders_behind(name, job, failure, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "replaced.txt").write_text("old")
    before = snapshot(tmp_path)

    def fill_half() -> None:
        with filling(tmp_path / name, name=job) as partial:
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


# Jobs with a name


def fail_with(folder: Path, failure: BaseException) -> Path:
    """Fill a folder as the job `job` and fail; returns the temporary folder."""
    used = []

    def fill() -> None:
        with filling(folder, name="job", keep=lambda: True) as partial:
            used.append(partial)
            (partial / "a.txt").write_text("half")
            raise failure

    with pytest.raises(type(failure)):
        fill()
    return used[0]


@FAILURES
@pytest.mark.parametrize("name", ["out", "new/parents/out"])
def test_a_failed_job_that_can_go_on_finds_its_files_in_the_next_call(name, failure, tmp_path):
    out = tmp_path / name
    first = fail_with(out, failure)
    assert not out.exists()
    assert snapshot(out.parent) == {first.name: None, f"{first.name}/a.txt": "half"}
    with filling(out, name="job", keep=lambda: True) as partial:
        assert partial == first
        assert snapshot(partial) == {"a.txt": "half"}
        (partial / "b.txt").write_text("the other half")
    assert snapshot(out) == {"a.txt": "half", "b.txt": "the other half"}
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_failed_job_leaves_the_old_files_of_its_folder_alone(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.txt").write_text("old")
    fail_with(tmp_path / "out", ValueError("wrong"))
    assert snapshot(tmp_path / "out") == {"a.txt": "old"}


@pytest.mark.parametrize("exists", [False, True])
def test_a_job_that_ends_well_leaves_nothing_but_its_files(exists, tmp_path):
    if exists:
        (tmp_path / "out").mkdir()
    with filling(tmp_path / "out", name="job", keep=lambda: True) as partial:
        (partial / "a.txt").write_text("a")
    assert snapshot(tmp_path) == {"out": None, "out/a.txt": "a"}


def test_whether_to_keep_is_asked_when_the_job_fails(tmp_path):
    marks: list[int] = []

    def fill() -> None:
        with filling(tmp_path / "out", name="job", keep=lambda: bool(marks)) as partial:
            (partial / "a.txt").write_text("a")
            marks.append(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fill()
    assert [path.name for path in tmp_path.rglob("a.txt")] == ["a.txt"]


def test_other_jobs_and_calls_without_a_name_have_folders_of_their_own(tmp_path):
    kept = fail_with(tmp_path / "out", ValueError("wrong"))
    for name in ("other", None):
        with filling(tmp_path / "out", name=name) as partial:
            assert partial != kept
            assert snapshot(partial) == {}
    assert snapshot(kept) == {"a.txt": "half"}


def test_a_job_with_a_name_can_fill_the_folder_in_which_one_stands(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with filling(Path(), name="job") as partial:
        (partial / "a.txt").write_text("a")
    assert snapshot(tmp_path) == {"here": None, "here/a.txt": "a"}


def test_two_processes_cannot_be_at_the_same_job(tmp_path):
    out = tmp_path / "out"
    kept = fail_with(out, ValueError("wrong"))
    with FileLock(f"{kept}.lock"):
        with pytest.raises(UsageError, match=r"another process .*out: wait for it") as error, filling(out, name="job"):
            (kept / "a.txt").write_text("of the second process")
        assert "\n" not in str(error.value)
        assert snapshot(kept) == {"a.txt": "half"}
        with filling(out, name="other") as partial:
            (partial / "b.txt").write_text("b")
    assert snapshot(out) == {"b.txt": "b"}
    with filling(out, name="job"):
        pass
    assert snapshot(out) == {"a.txt": "half", "b.txt": "b"}


def test_the_end_of_one_process_does_not_let_two_others_in(tmp_path, monkeypatch):
    """The second one comes as soon as the first one has let go of the job, the third one while the second is at it."""
    release, seconds = FileLock.release, list[FileLock]()

    def release_and_let_another_in(self: FileLock, force: bool = False) -> None:
        held = self.is_locked  # not where it is only collected
        release(self, force)
        if held and not seconds:
            seconds.append(FileLock(self.lock_file))
            seconds[0].acquire(blocking=False)

    with monkeypatch.context() as patch:
        patch.setattr(FileLock, "release", release_and_let_another_in)
        with filling(tmp_path / "out", name="job"):
            pass
    with pytest.raises(UsageError, match="another process"), filling(tmp_path / "out", name="job"):
        pass
    seconds[0].release()
    with filling(tmp_path / "out", name="job"):
        pass


def test_the_lock_of_a_killed_process_locks_nobody_out(tmp_path):
    kept = fail_with(tmp_path / "out", ValueError("wrong"))
    kept.with_name(f"{kept.name}.lock").touch()
    with filling(tmp_path / "out", name="job"):
        pass
    assert snapshot(tmp_path) == {"out": None, "out/a.txt": "half"}


# Locks

HOLD = """
import sys
from pathlib import Path
from anytime_core.data.files import locked

with locked(Path(sys.argv[1]), "work", "digging here"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock `work` until the block ends or the process is killed."""
    command = [sys.executable, "-c", HOLD, folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


def lock(folder: Path, name: str = "work") -> None:
    with locked(folder, name, "digging here"):
        assert (folder / f".{name}.lock").exists()


def test_a_lock_keeps_others_out_and_tells_who_holds_it(tmp_path):
    with another_process(tmp_path / "new" / "out") as process:
        with pytest.raises(UsageError) as error:
            lock(tmp_path / "new" / "out")
        message = str(error.value)
        assert message.startswith(f"process {process.pid} on {socket.gethostname()}, since 2")
        assert message.endswith(", is digging here: wait for it, or choose another folder")
        assert "\n" not in message
        lock(tmp_path / "new" / "out", "other")
        lock(tmp_path, "work")
    assert process.returncode == 0
    assert snapshot(tmp_path) == {}
    lock(tmp_path / "new" / "out")


def test_a_killed_process_holds_no_lock(tmp_path):
    with another_process(tmp_path / "out") as process:
        process.kill()
        process.wait()
        assert snapshot(tmp_path / "out").keys() == {".work.holder", ".work.lock"}
        with locked(tmp_path / "out", "work", "digging here"):
            told = json.loads((tmp_path / "out" / ".work.holder").read_text())
            assert told["pid"] == os.getpid()
    assert snapshot(tmp_path) == {"out": None}


def test_a_lock_writes_through_no_link(tmp_path):
    (tmp_path / "precious.txt").write_text("gold")
    (tmp_path / ".work.holder").symlink_to(tmp_path / "precious.txt")
    lock(tmp_path)
    assert snapshot(tmp_path) == {"precious.txt": "gold"}


@pytest.mark.parametrize("told", [None, "", "{", "[]", '{"pid": 1}'])
def test_a_holder_that_is_not_told_is_another_process(told, tmp_path):
    with FileLock(tmp_path / ".work.lock"):
        if told is not None:
            (tmp_path / ".work.holder").write_text(told)
        with pytest.raises(UsageError, match=r"^another process is digging here: wait for it"):
            lock(tmp_path)


@pytest.mark.parametrize("kept", [False, True])
@FAILURES
def test_a_lock_goes_with_an_error_and_takes_its_empty_folders_along(failure, kept, tmp_path):
    def fail() -> None:
        with locked(tmp_path / "new" / "out", "work", "digging here"):
            if kept:
                (tmp_path / "new" / "found.txt").write_text("gold")
            raise failure

    with pytest.raises(type(failure)):
        fail()
    assert snapshot(tmp_path) == ({"new": None, "new/found.txt": "gold"} if kept else {})


def test_a_lock_file_that_another_process_removes_meanwhile_is_no_lock(tmp_path, monkeypatch):
    """It is gone between opening and locking, as when its holder has just ended: a third process makes a new one."""
    flock = fcntl.flock

    def remove_and_lock(descriptor: int, operation: int) -> None:
        (tmp_path / ".work.lock").unlink(missing_ok=True)
        flock(descriptor, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", remove_and_lock)
        with pytest.raises(UsageError, match="another process"):
            lock(tmp_path)
    lock(tmp_path)


# The order of files, and the disk


def moved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are moved from now on."""
    names: list[str] = []
    replace = os.replace

    def noted(source: str | Path, target: str | Path) -> None:
        names.append(Path(target).name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", noted)
    return names


@pytest.mark.parametrize("job", [None, "job"])
def test_files_of_json_come_last_as_they_tell_of_the_others(job, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    names = moved(monkeypatch)
    with filling(tmp_path / "out", name=job) as partial:
        for name in ("a.json", "b.txt", "c.json", *(f"{number}.txt" for number in range(20)), "z.json"):
            (partial / name).write_text(name)
    assert len(names) == 24
    assert set(names[-3:]) == {"a.json", "c.json", "z.json"}


def test_a_new_folder_appears_in_one_move(tmp_path, monkeypatch):
    names = moved(monkeypatch)
    with filling(tmp_path / "out") as partial:
        for name in ("a.json", "b.txt"):
            (partial / name).write_text(name)
    assert names == ["out"]


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of the disk: `file` for one file, `all` for everything."""
    asked: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: asked.append("file"))
    monkeypatch.setattr(files, "_syncfs", lambda: lambda descriptor: asked.append("all"))
    return asked


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("write", [write_text, write_json])
def test_a_file_is_flushed_where_it_has_to_outlive_a_power_cut(write, durable, flushed, tmp_path):
    write(tmp_path / "file", "text", durable=durable)
    assert flushed == ["file"] * durable
    assert len(snapshot(tmp_path)) == 1


def test_files_are_flushed_by_default(flushed, tmp_path):
    write_text(tmp_path / "file", "text")
    with filling(tmp_path / "out") as partial:
        (partial / "a.txt").write_text("a")
    assert flushed == ["file", "file"]


@pytest.mark.parametrize(("number", "asked"), [(0, []), (1, ["file"]), (3, ["file"] * 3), (4, ["all"]), (30, ["all"])])
def test_many_files_are_flushed_at_once(number, asked, flushed, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_FLUSHED_ONE_BY_ONE", 3)
    with filling(tmp_path / "out") as partial:
        for name in range(number):
            (partial / str(name)).write_text("content")
    assert flushed == asked
    assert len(snapshot(tmp_path / "out")) == number


def test_many_files_are_flushed_one_by_one_where_the_system_knows_nothing_else(flushed, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_FLUSHED_ONE_BY_ONE", 3)
    monkeypatch.setattr(files, "_syncfs", lambda: None)
    monkeypatch.delattr(os, "sync")
    with filling(tmp_path / "out") as partial:
        for name in range(5):
            (partial / str(name)).write_text("content")
    assert flushed == ["file"] * 5


@pytest.mark.parametrize("job", [None, "job"])
@pytest.mark.parametrize("number", [1, 30])
def test_files_that_need_not_outlive_a_power_cut_are_not_waited_for(number, job, flushed, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_FLUSHED_ONE_BY_ONE", 3)
    with filling(tmp_path / "out", name=job, durable=False) as partial:
        for name in range(number):
            (partial / str(name)).write_text("content")
    assert flushed == []
    assert len(snapshot(tmp_path / "out")) == number


def test_files_are_flushed_before_they_appear(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append((tmp_path / "out").exists()))
    with filling(tmp_path / "out") as partial:
        for name in "ab":
            (partial / name).write_text("content")
    assert seen == [False, False]


@pytest.mark.parametrize("job", [None, "job"])
def test_a_folder_that_is_a_file_is_refused_by_its_name(job, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(NotADirectoryError) as error, filling(tmp_path / "out", name=job):
        pass
    assert error.value.filename == str(tmp_path / "out")
    assert snapshot(tmp_path) == {"out": "mine"}


@pytest.mark.parametrize("job", [None, "job"])
def test_an_error_about_a_temporary_file_names_the_file_that_was_meant(job, tmp_path):
    def fill() -> None:
        with filling(tmp_path / "out", name=job) as partial:
            (partial / "missing" / "a.txt").write_text("a")

    with pytest.raises(FileNotFoundError) as error:
        fill()
    assert error.value.filename == str(tmp_path / "out" / "missing" / "a.txt")


def test_a_job_whose_temporary_folder_somebody_removed_starts_anew(tmp_path):
    shutil.rmtree(fail_with(tmp_path / "out", ValueError("wrong")))
    with filling(tmp_path / "out", name="job") as partial:
        assert snapshot(partial) == {}
    assert snapshot(tmp_path) == {"out": None}


@contextmanager
def _special(kind, folder):
    """The path of something that is no file."""
    path = folder / "it"
    if kind == "a device":
        yield Path(os.devnull)
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as opened, chdir(folder):
            opened.bind(path.name)  # whose whole path may be too long
            yield path
    else:
        os.mkfifo(path) if kind == "a pipe" else path.mkdir()
        yield path


@pytest.mark.parametrize(
    "read", [require_regular_file, open_regular, lambda path: read_limited(path, 9)], ids=["asked", "opened", "read"]
)
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a device", "a socket"])
def test_what_is_no_file_is_said_in_words_and_never_waited_for(kind, linked, read, tmp_path):
    with _special(kind, tmp_path) as path:
        if linked:
            (tmp_path / "link").symlink_to(path)
            path = tmp_path / "link"
        with pytest.raises(OSError, match="not a file") as caught:
            read(path)
    assert (caught.value.strerror, caught.value.filename) == (f"it is {kind}, not a file", str(path))


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "it")
    monkeypatch.setattr(reading, "require_regular_file", lambda path: None)  # it was a file then
    with pytest.raises(OSError, match="it is a pipe, not a file"):
        open_regular(tmp_path / "it")


def test_a_file_is_read_as_it_is(tmp_path):
    (tmp_path / "it").write_bytes(b"12345\r\n\x1a67")
    require_regular_file(tmp_path / "it")
    assert read_limited(tmp_path / "it", 10) == b"12345\r\n\x1a67"
    with pytest.raises(ValueError, match="larger than 9 bytes"):
        read_limited(tmp_path / "it", 9)


# What others plant, and what killed processes leave


@pytest.fixture
def precious(tmp_path: Path) -> Iterator[Path]:
    """A file of somebody's that must stay as it is."""
    path = tmp_path / "elsewhere" / "precious"
    path.parent.mkdir()
    path.write_text("years of work")
    yield path
    assert snapshot(path.parent) == {"precious": "years of work"}


PLANTED = {
    "link": lambda path, precious: path.symlink_to(precious),
    "link to nowhere": lambda path, precious: path.symlink_to(precious.with_name("made")),
    "second name": lambda path, precious: path.hardlink_to(precious),
    "pipe": lambda path, precious: os.mkfifo(path),
    "folder": lambda path, precious: path.mkdir(),
}


@pytest.mark.parametrize("mode", ["rb", "a+b"])
@pytest.mark.parametrize("kind", PLANTED)
def test_work_goes_on_from_no_file_that_was_planted(kind, mode, precious, tmp_path):
    PLANTED[kind](tmp_path / "work", precious)
    with pytest.raises(UsageError, match="work is not a file of this job: remove it"):
        open_own(tmp_path / "work", mode)


def test_work_goes_on_from_a_file_of_its_own(tmp_path):
    for text in (b"one", b"two"):
        with open_own(tmp_path / "work", "a+b") as file:
            file.write(text)
    with open_own(tmp_path / "work", "rb") as file:
        assert file.read() == b"onetwo"


def test_a_file_of_another_user_is_not_gone_on_from(tmp_path, monkeypatch):
    (tmp_path / "work").write_text("planted")
    monkeypatch.setattr(files, "_is_own", lambda status, folder: False)
    with pytest.raises(UsageError, match="not a file of this job"):
        open_own(tmp_path / "work", "rb")


def test_a_disk_that_calls_its_files_somebody_else_s_is_no_obstacle(tmp_path, monkeypatch):
    (tmp_path / "work").write_text("mine")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with open_own(tmp_path / "work", "rb") as file:
        assert file.read() == b"mine"


@pytest.mark.parametrize("kind", ["link", "open to others", "file"])
def test_a_job_takes_no_temporary_folder_that_was_planted(kind, precious, tmp_path):
    with filling(tmp_path / "out", name="job", keep=lambda: True) as partial:
        (partial / "a.txt").write_text("a")
    shutil.rmtree(tmp_path / "out")
    match kind:
        case "link":
            partial.symlink_to(precious.parent)
        case "file":
            partial.touch()
        case _:
            partial.mkdir()
            partial.chmod(0o777)
    with pytest.raises(UsageError, match="remove it"), filling(tmp_path / "out", name="job"):
        pytest.fail("nothing may be written")
    assert os.path.lexists(partial)


def test_the_temporary_folder_of_a_job_is_its_user_s_alone(tmp_path):
    with filling(tmp_path / "out", name="job") as partial:
        assert stat.S_IMODE(partial.stat().st_mode) == 0o700


def test_a_lock_that_is_a_link_is_refused_by_its_name(precious, tmp_path):
    (tmp_path / ".work.lock").symlink_to(precious)
    with pytest.raises(UsageError, match=r"\.work\.lock is a link: remove it"):
        lock(tmp_path)


def test_half_written_files_of_killed_processes_go_and_jobs_stay(precious, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    killed = replacing(folder / "numbers.txt", durable=False)
    killed.__enter__().write_text("half")
    (folder / ".partial-4711-old.json").write_text("{")
    (folder / ".partial-link").symlink_to(precious)
    kept = fail_with(folder / "out", ValueError("wrong"))
    (folder / f"{kept.name}.lock").touch()
    remove_partial_files(folder)
    assert set(os.listdir(folder)) == {kept.name, f"{kept.name}.lock"}


@pytest.mark.parametrize("block", [replacing, naming, filling])
def test_a_full_disk_is_told_with_what_was_being_written(block, tmp_path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill() -> None:
        with block(tmp_path / "numbers.txt"):
            raise full

    with pytest.raises(OSError, match="No space") as error:
        fill()
    assert error.value.filename == str(tmp_path / "numbers.txt")
