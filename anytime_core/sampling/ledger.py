"""How far a sampling job has got, on disk, so that a killed one goes on from there."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Ledger:
    """What a job has done so far, kept in its temporary folder, so that a killed one goes on from there.

    Args:
        folder: the temporary folder.

    Attributes:
        files: names of its own files.
        last: the latest line of a killed job, None where the job starts.
    """

    def __init__(self, folder: Path) -> None:
        self.files = ("progress.jsonl", "entries.jsonl")
        self._progress, self._entries = (folder / name for name in self.files)
        self.last: dict[str, Any] | None = self._read()
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

    def _read(self) -> dict[str, Any] | None:
        """The last whole line; what a killed process left of another is cut off."""
        last, whole = None, 0
        if self._progress.exists():
            content = self._progress.read_bytes()
            for line in content.splitlines(keepends=True):
                try:
                    last = json.loads(line) if line.endswith(b"\n") else json.loads("")
                except ValueError:
                    break
                whole += len(line)
            if whole < len(content):
                os.truncate(self._progress, whole)
        return last
