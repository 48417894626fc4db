"""Output folders: an earlier job's files are replaced as a whole or not at all, and nobody else's are touched.

What a job wrote is what its record tells, `samples.json` or `reconstructions.json`. Everything else in a folder belongs
to others. Replacing goes in an order that leaves no record of files that are not there, wherever it is cut off:

1. the earlier record moves into the temporary folder of the job, which thereby knows what it replaces;
2. the new files move in, those of the same names being replaced;
3. the earlier files that have no successor go;
4. the new record moves in.

The same command goes on with it from any point.
"""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from anytime_core.data.files import PARTIAL_PREFIX, filling, flush_all, holding, move_files
from anytime_core.display import counted, shown
from anytime_core.errors import UsageError
from anytime_core.jobs.arrays import ROW_FILES
from anytime_core.jobs.ledger import LEDGER_FILES
from anytime_core.jobs.records import ENTRIES, JOINED, PREVIEW_FILE, told_files
from anytime_core.record import RUN_FILE
from anytime_core.spelling import argument

if TYPE_CHECKING:
    from anytime_core.run import Run

FILLING = ".filling"
"""In a temporary folder until all of its files are there, and on the disk."""

_REPLACED_PREFIX = ".replaced-"
_NAMED = 3
"""Files that a message names."""
_LONGEST_MOVE = 3600.0
"""Seconds to wait for another job that moves its files into the same folder."""

Files = dict[str, int | None]
"""Names with numbers of bytes, None where they are not known."""


def refuse_as_output(folder: Path, run: Run) -> None:
    """Raise UsageError where `folder` is a run, or that of the data of `run`, for which its files would be taken."""
    if (folder / RUN_FILE).exists():
        raise UsageError(f"{shown(folder)} is a run: {_choose_another()}, such as {shown(folder / 'samples' / 'new')}")
    root = run.record.found.root if run.record.found is not None else None
    if root is not None and folder.resolve() == root.resolve():
        raise UsageError(f"{shown(folder)} is where the data of run {shown(run.folder)} lies: {_choose_another()}")


def _choose_another() -> str:
    return f"choose another {argument('folder', option='out')}"


class OutputFolder:
    """The folder that a job will write to.

    Args:
        folder: may be missing.
        record: name of what tells which files the job wrote.
        suffixes: of files that would be mistaken for the job's, wherever they are beside them.
        overwrite: replace what an earlier job wrote.
        inputs: files that the job reads.
        joins: asked of an earlier record; true where it is of other parts of the same job, which stay.
        join: called with an earlier and the new record where that is so.

    Attributes:
        moving: whether files may have left the temporary folder, which must then be kept.
    """

    def __init__(
        self,
        folder: Path,
        record: str,
        *,
        suffixes: Collection[str],
        overwrite: bool,
        inputs: Sequence[Path] = (),
        joins: Callable[[Path], bool] = lambda earlier: False,
        join: Callable[[Path, Path], None] = lambda earlier, new: None,
    ) -> None:
        self.folder, self.record, self.suffixes, self.overwrite = folder, record, tuple(suffixes), overwrite
        self.joins, self.join = joins, join
        self.moving = False
        self._durable = True
        self._inputs = {_identity(path) for path in inputs} - {None}

    def check(self, names: Collection[str], ours: Files | None = None) -> Files:
        """Refuse to write where something would be lost, or could not be told from what others wrote.

        Args:
            names: that will be written, as far as they are known.
            ours: files that are known to be this job's already.

        Returns:
            The files of an earlier job.

        Raises:
            UsageError: naming what is in the way, and the way out.
        """
        if not self._is_there():
            return {}
        earlier = self._earlier()
        joins = self.record in earlier and self.joins(self.folder / self.record)
        taken = {name.casefold() for name in (*names, *ENTRIES)}
        foreign = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if self._inputs and _identity(Path(entry.path)) in self._inputs:
                    raise UsageError(
                        f"{shown(self.folder)} holds {shown(entry.name)}, which is read and must stay as it is: "
                        f"{_choose_another()}"
                    )
                name = entry.name.casefold()
                if (name in taken or name.endswith(self.suffixes)) and not _is(entry, {**earlier, **(ours or {})}):
                    foreign.append(entry.name)
        if foreign:
            cut_off = self._cut_off()
            raise UsageError(
                f"{shown(self.folder)} holds {_counted(foreign)} that no earlier job wrote: they would be lost, or "
                f"mixed with what is written now; {_choose_another()}"
                + (f", or repeat the call that was killed while its files moved from {cut_off}" if cut_off else "")
            )
        if earlier and not joins and not self.overwrite:
            raise UsageError(
                f"{shown(self.folder)} holds {_counted(earlier)} of an earlier job: replace them with "
                f"{argument('overwrite', True)}, or {_choose_another()}"
            )
        return {} if joins else earlier

    @contextmanager
    def filled(
        self,
        job: str,
        names: Collection[str],
        *,
        resumable: Callable[[], bool] = lambda: False,
        durable: bool = True,
    ) -> Iterator[Path]:
        """The temporary folder of a job, whose files move into the output folder at the end of the block.

        What a killed process left is in it, with the file `FILLING`; without that everything is there and only needs to
        be moved.

        Args:
            job: names everything that decides what the files will be.
            names: of the files, as far as they are known.
            resumable: asked after an error; true keeps the temporary folder for a later call.
            durable: flush to the disk before moving.

        Raises:
            UsageError: see `check`; or the temporary folder is not of such a job.
        """
        self._durable = durable
        self._is_there()
        found: set[str] = set()

        def keep() -> bool:
            return self.moving or bool(found) or resumable()

        with filling(self.folder, name=job, keep=keep, durable=durable, move=self._move) as temporary:
            found |= {path.name for path in temporary.iterdir()}
            if all(name.startswith(_REPLACED_PREFIX) for name in found):  # a new one, or one of which all has moved
                for name in found:
                    (temporary / name).unlink()
                found.clear()
                self.check(names)
                (temporary / FILLING).touch()
            elif FILLING in found:
                self.check(names)
            elif self.record not in found:
                raise UsageError(f"{shown(temporary)} is not of this job, and would be emptied: remove it")
            found.clear()
            yield temporary

    def _move(self, temporary: Path, folder: Path) -> None:
        """Give the files of a temporary folder, all of which are there, their place."""
        lock = temporary.with_name(f"{temporary.name.rpartition('-')[0]}-moving")
        with holding(lock, f"moving files to {shown(folder)}", wait=_LONGEST_MOVE):
            self.moving = True
            for name in (FILLING, *LEDGER_FILES, *ROW_FILES, JOINED):
                (temporary / name).unlink(missing_ok=True)
            if not folder.exists():
                move_files(temporary, folder)
                return
            ours: Files = {}
            for record in ENTRIES:
                replaced = temporary / f"{_REPLACED_PREFIX}{record}"
                if replaced.exists():
                    ours |= told_files(replaced, record)
            told = told_files(temporary / self.record, self.record)
            ours |= {name: size for name, size in told.items() if not (temporary / name).exists()}
            names = {path.name for path in temporary.iterdir() if not path.name.startswith(_REPLACED_PREFIX)}
            earlier = {**self.check(names, ours), **ours}
            if self.record in self._earlier() and self.joins(folder / self.record):
                self.join(folder / self.record, temporary / self.record)
                if PREVIEW_FILE in names and (folder / PREVIEW_FILE).exists():
                    (temporary / PREVIEW_FILE).unlink()
                    names.remove(PREVIEW_FILE)
            told = told_files(temporary / self.record, self.record)
            for record in ENTRIES:
                if (folder / record).exists():
                    os.replace(folder / record, temporary / f"{_REPLACED_PREFIX}{record}")
            for name in names - {self.record}:
                os.replace(temporary / name, folder / name)
            if self._durable:
                flush_all(folder)
            for name in earlier.keys() - told.keys() - ENTRIES.keys():
                with suppress(FileNotFoundError):
                    (folder / name).unlink()
            os.replace(temporary / self.record, folder / self.record)

    def _is_there(self) -> bool:
        """Whether the folder is there; UsageError where something else is."""
        if self.folder.is_dir():
            return True
        if os.path.lexists(self.folder):
            kind = "a file" if self.folder.exists() else "a link that leads nowhere"
            raise UsageError(f"{shown(self.folder)} is {kind}, not a folder: {_choose_another()}")
        return False

    def _cut_off(self) -> str:
        """Another job's folder out of which files were moving here when it was killed, if there is one."""
        folders = self.folder.parent.glob(f"{PARTIAL_PREFIX}{glob.escape(self.folder.resolve().name)}-*")
        return next((shown(path) for path in folders if any(path.glob(f"{_REPLACED_PREFIX}*"))), "")

    def _earlier(self) -> Files:
        """What the records in the folder tell of, themselves included."""
        files: Files = {}
        for record in ENTRIES:
            with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                files |= {**told_files(self.folder / record, record), record: None}
        return files


def _is(entry: os.DirEntry[str], files: Files) -> bool:
    """Whether something is one of `files`, as it was written."""
    if entry.name not in files or not entry.is_file(follow_symlinks=False):
        return False
    return files[entry.name] in (None, entry.stat(follow_symlinks=False).st_size)


def _identity(path: Path) -> tuple[int, int] | None:
    """What a file is, by whichever name; None for a link to nothing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def _counted(names: Collection[str]) -> str:
    """How many files, with the first names."""
    first = ", ".join(map(shown, sorted(names)[:_NAMED]))
    more = ", ..." if len(names) > _NAMED else ""
    return f"{counted(len(names), 'files')} ({first}{more})"
