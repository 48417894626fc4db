"""How far a sampling job has got, on disk, so that a killed one goes on from there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from anytime_core.files import read_limited

_LIMIT = 2**28  # a line for each batch


class _Place(BaseModel):
    """Where tar shards had got to, see `TarOutput.state`."""

    model_config = ConfigDict(strict=True)

    number: int = Field(ge=0)
    inside: int = Field(ge=0)
    end: int = Field(ge=0)


class _Mark(BaseModel):
    """What a line of `progress.jsonl` says."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    done: int = Field(ge=0)
    most: int = Field(ge=0)
    calls: int = Field(ge=0)
    seconds: dict[str, float]
    output: _Place | None
    entries: int = Field(ge=0)


class Ledger:
    """What a job has done so far, kept in its temporary folder, so that a killed one goes on from there.

    Args:
        folder: the temporary folder.
        fits: asked of a line of a killed job; it and those after it count for nothing where that is false.

    Attributes:
        files: names of its own files.
        last: the latest line of a killed job, None where the job starts.
    """

    def __init__(self, folder: Path, fits: Callable[[dict[str, Any]], bool] = lambda mark: True) -> None:
        self.files = ("progress.jsonl", "entries.jsonl")
        self._progress, self._entries = (folder / name for name in self.files)
        self.last: dict[str, Any] | None = self._read(fits)
        with self._entries.open("ab") as file:
            file.truncate(self.last["entries"] if self.last else 0)
        self._file = self._entries.open("a", encoding="utf-8")

    def add(self, entry: dict[str, Any]) -> None:
        """One more of the samples of `samples.json`."""
        self._file.write(json.dumps(entry) + "\n")

    def mark(self, **state: Any) -> None:
        """From here a killed job can go on."""
        self._file.flush()
        self.last = {**state, "entries": self._entries.stat().st_size}
        with self._progress.open("a", encoding="utf-8") as file:
            file.write(json.dumps(self.last) + "\n")

    def end(self) -> Iterator[str]:
        """All entries as JSON, after which the ledger is gone."""
        self._file.close()
        with self._entries.open(encoding="utf-8") as file:
            yield from (line.rstrip("\n") for line in file)
        self.close()
        self._entries.unlink()
        self._progress.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the files and leave them."""
        self._file.close()

    def _read(self, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
        """The last whole line; what a killed process left of another, and what makes no sense, is cut off."""
        last, whole = None, 0
        if self._progress.exists():
            written = self._entries.stat().st_size if self._entries.exists() else 0
            content = self._content()
            for line in content.splitlines(keepends=True):
                try:
                    mark = _Mark.model_validate_json(line if line.endswith(b"\n") else b"").model_dump()
                except ValueError:
                    break
                if mark["entries"] > written or not fits(mark):
                    break
                last = mark
                whole += len(line)
            if whole < self._progress.stat().st_size:
                os.truncate(self._progress, whole)
        return last

    def _content(self) -> bytes:
        try:
            return read_limited(self._progress, _LIMIT)
        except ValueError:
            return b""
