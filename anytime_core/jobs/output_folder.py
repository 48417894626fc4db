"""Output folders: an earlier job's files are replaced as a whole or not at all, and nobody else's are touched.

A job wrote what its record lists, `samples.json` or `reconstructions.json`. Everything else in a folder belongs to
others. Files are replaced in an order that leaves no record of missing files, wherever it is cut off:

1. the earlier record moves into the temporary folder of the job, which thus knows what it replaces;
2. the new files move in, and replace files of the same names;
3. the earlier files that have no successor are removed;
4. the new record moves in.

Repeating the command goes on from any of these steps.
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
"""A file that lies in a temporary folder until all files are there and on the disk."""

_REPLACED_PREFIX = ".replaced-"
_NAMED = 3
"""The most files that a message names."""
_LONGEST_MOVE = 3600.0
"""Seconds to wait for another job that moves its files into the same folder."""

Files = dict[str, int | None]
"""File names with sizes in bytes, None if not known."""


def refuse_as_output(folder: Path, run: Run) -> None:
    """Raise UsageError if `folder` is a run, or holds the data of `run`: new files would be taken for data."""
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
        record: name of the file that lists what the job wrote.
        suffixes: of files that could be mistaken for the job's, if they lie beside them.
        overwrite: replace what an earlier job wrote.
        inputs: files that the job reads.
        joins: called with an earlier record; true if it lists other parts of the same job, which stay.
        join: called with the earlier and the new record in this case.

    Attributes:
        moving: whether files may have left the temporary folder; it must then be kept.
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
        """Refuse to write if files would be lost, or could not be told from what others wrote.

        Args:
            names: files that will be written, as far as they are known.
            ours: files that are known to belong to this job already.

        Returns:
            The files of an earlier job.

        Raises:
            UsageError: something is in the way; the message names it and the way out.
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
                        f"{shown(self.folder)} holds {shown(entry.name)}, which is an input and must not change: "
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

        It holds what a killed process left, with the file `FILLING`; without it all is there and only needs to be
        moved.

        Args:
            job: a name that follows from everything that decides what the files will be.
            names: of the files, as far as they are known.
            resumable: called after an error; true keeps the temporary folder for a later call.
            durable: flush to the disk before moving.

        Raises:
            UsageError: see `check`; or the temporary folder belongs to another job.
        """
        self._durable = durable
        self._is_there()
        found: set[str] = set()

        def keep() -> bool:
            return self.moving or bool(found) or resumable()

        with filling(self.folder, name=job, keep=keep, durable=durable, move=self._move) as temporary:
            found |= {path.name for path in temporary.iterdir()}
            if all(name.startswith(_REPLACED_PREFIX) for name in found):  # new, or everything has moved out of it
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
        """Move the files of a temporary folder, which is complete, to their place."""
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
        """Whether the folder exists; UsageError if something else has its name."""
        if self.folder.is_dir():
            return True
        if os.path.lexists(self.folder):
            kind = "a file" if self.folder.exists() else "a link that leads nowhere"
            raise UsageError(f"{shown(self.folder)} is {kind}, not a folder: {_choose_another()}")
        return False

    def _cut_off(self) -> str:
        """The folder of another job that was killed while its files moved here, if there is one."""
        folders = self.folder.parent.glob(f"{PARTIAL_PREFIX}{glob.escape(self.folder.resolve().name)}-*")
        return next((shown(path) for path in folders if any(path.glob(f"{_REPLACED_PREFIX}*"))), "")

    def _earlier(self) -> Files:
        """The files that the records in the folder list, the records included."""
        files: Files = {}
        for record in ENTRIES:
            with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                files |= {**told_files(self.folder / record, record), record: None}
        return files


def _is(entry: os.DirEntry[str], files: Files) -> bool:
    """Whether a file is one of `files`, unchanged since it was written."""
    if entry.name not in files or not entry.is_file(follow_symlinks=False):
        return False
    return files[entry.name] in (None, entry.stat(follow_symlinks=False).st_size)


def _identity(path: Path) -> tuple[int, int] | None:
    """What a file is, whatever its name; None for a link to nothing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def _counted(names: Collection[str]) -> str:
    """The number of files, with the first names."""
    first = ", ".join(map(shown, sorted(names)[:_NAMED]))
    more = ", ..." if len(names) > _NAMED else ""
    return f"{counted(len(names), 'files')} ({first}{more})"
