"""How far a sampling job has got, kept on disk so that a killed job goes on from there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from anytime_core.data.files import open_own

LEDGER_FILES = ("progress.jsonl", "entries.jsonl")

_LIMIT = 2**28  # a line for each batch
_LINE = 2**20


class _Place(BaseModel):
    """How far the files of many samples had got, see `TarOutput.state` and `ArrayOutput.state`."""

    model_config = ConfigDict(strict=True)

    number: int = Field(ge=0)
    inside: int = Field(ge=0)
    end: int = Field(ge=0)


class _Mark(BaseModel):
    """A line of `progress.jsonl`."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    done: int = Field(ge=0)
    most: int = Field(ge=0)
    calls: int = Field(ge=0)
    seconds: dict[str, float]
    output: _Place | None
    entries: int = Field(ge=0)


class Ledger:
    """What a job has done so far, kept in its temporary folder so that a killed job goes on from there.

    Args:
        folder: the temporary folder.
        fits: called with a line of a killed job; if it returns false, this line and those after it are ignored.
        holds: called with the files of each sample, name -> bytes; if they are not there as they were written, as after
            a power cut, this sample and those after it are drawn again.

    Attributes:
        last: the latest line of a killed job; None if the job starts from the beginning.
    """

    def __init__(
        self,
        folder: Path,
        fits: Callable[[dict[str, Any]], bool] = lambda mark: True,
        holds: Callable[[Mapping[str, int]], bool] = lambda files: True,
    ) -> None:
        self._progress, self._entries = (open_own(folder / name, "a+b") for name in LEDGER_FILES)
        self.last: dict[str, Any] | None = self._read(fits, holds)
        self._entries.truncate(self.last["entries"] if self.last else 0)
        self._entries.seek(0, os.SEEK_END)

    def add(self, entry: Mapping[str, Any], files: Mapping[str, int]) -> None:
        """Add a sample of `samples.json`, and the files that it is in, name -> bytes."""
        # JSON has no tab of its own, so the entry can be copied out of the line unchanged.
        self._entries.write(f"{json.dumps(entry)}\t{json.dumps(files)}\n".encode())

    def flush(self) -> None:
        """Hand everything added to the operating system."""
        self._entries.flush()

    def mark(self, **state: Any) -> None:
        """Set a mark that a killed job can go on from; what was added must be on the disk."""
        self.flush()
        self.last = {**state, "entries": self._entries.tell()}
        self._progress.write(json.dumps(self.last).encode() + b"\n")
        self._progress.flush()

    def entries(self) -> Iterator[str]:
        """All entries as JSON."""
        self.flush()
        self._entries.seek(0)
        for line in self._entries:
            yield line.decode().partition("\t")[0]

    def close(self) -> None:
        """Close the files and leave them."""
        self._entries.close()
        self._progress.close()

    def _read(
        self, fits: Callable[[dict[str, Any]], bool], holds: Callable[[Mapping[str, int]], bool]
    ) -> dict[str, Any] | None:
        """The last mark before which everything is whole; what comes after it is cut off."""
        last, whole = None, 0
        for mark, end in self._marks(fits):
            written = self._whole_entries(last, mark, holds)
            if not written:
                break
            last, whole = mark, end
        self._progress.truncate(whole)
        return last

    def _marks(self, fits: Callable[[dict[str, Any]], bool]) -> Iterator[tuple[dict[str, Any], int]]:
        """Marks of a killed job and where their lines end, up to the first that makes no sense."""
        self._progress.seek(0)
        content = self._progress.read(_LIMIT + 1)
        end = 0
        for line in content.splitlines(keepends=True) if len(content) <= _LIMIT else ():
            try:
                mark = _Mark.model_validate_json(line if line.endswith(b"\n") else b"").model_dump()
            except ValueError:
                return
            if not fits(mark):
                return
            end += len(line)
            yield mark, end

    def _whole_entries(
        self, before: dict[str, Any] | None, mark: dict[str, Any], holds: Callable[[Mapping[str, int]], bool]
    ) -> bool:
        """Whether all samples between two marks are there."""
        start, done = (before["entries"], before["done"]) if before else (0, 0)
        self._entries.seek(start)
        for _ in range(mark["done"] - done):
            entry, tab, files = self._entries.readline(_LINE).partition(b"\t")
            try:
                json.loads(entry)
                if not tab or not holds(json.loads(files)):
                    return False
            except (ValueError, TypeError, AttributeError, RecursionError):
                return False
        return self._entries.tell() == mark["entries"]
