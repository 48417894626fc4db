"""`samples.json` and `reconstructions.json`: what a job wrote, one entry on each line.

So neither writing nor reading holds all of it in memory.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from anytime_core.errors import RunError

SAMPLES_FILE = "samples.json"
RECONSTRUCTIONS_FILE = "reconstructions.json"
PREVIEW_FILE = "preview.png"

ENTRIES = {SAMPLES_FILE: "samples", RECONSTRUCTIONS_FILE: "reconstructions"}
"""Name of a record -> its field with the entries, which is the last one."""

JOINED = ".joined"
"""What `join` writes first, before it renames it."""

_LINE = 2**20
"""The most characters that a line of a record may have."""


def write_entries(path: Path, record: str, head: Mapping[str, Any], entries: Iterable[str]) -> None:
    """Write the record of that name with `head["num"]` entries, each given as JSON.

    Raises:
        RunError: there are fewer or more entries.
    """
    with path.open("w", encoding="utf-8") as file:
        text = json.dumps(head, indent=2, allow_nan=False)
        file.write(text.removesuffix("\n}") + f',\n  "{ENTRIES[record]}": [\n    ')
        number = -1
        for number, entry in enumerate(entries):
            file.write(",\n    " * bool(number) + entry)
        file.write("\n  ]\n}\n")
    if number + 1 != head["num"]:
        raise RunError(f"{path} would list {number + 1} files, not {head['num']}: remove its folder and try again")


def read_head(path: Path, record: str) -> dict[str, Any]:
    """What a record says besides its entries; `record` is the name it has in an output folder.

    Raises:
        OSError, ValueError: it is no record of ours.
    """
    with path.open(encoding="utf-8") as file:
        return _head(file, record)


def read_entries(path: Path, record: str) -> Iterator[dict[str, Any]]:
    """Yield the entries of a record; raises as `read_head` does."""
    with path.open(encoding="utf-8") as file:
        _head(file, record)
        while (line := file.readline(_LINE).strip()) != "]":
            yield _object(line.removesuffix(","))


def told_files(path: Path, record: str) -> dict[str, int | None]:
    """The files that a record lists, with their sizes in bytes, None if it does not say.

    Raises:
        OSError, ValueError: it is no record of ours.
    """
    head = read_head(path, record)
    files: dict[str, int | None] = dict(head.get("files") or {})
    preview = PREVIEW_FILE if record == RECONSTRUCTIONS_FILE else head.get("preview")
    if preview is not None:
        files.setdefault(preview, None)
    for entry in read_entries(path, record):
        name, *member = str(entry["file"]).split("/")
        files.setdefault(name, None if member else entry.get("bytes"))
        files |= entry.get("growth") or {}
    for name, size in files.items():
        if name != Path(name).name or name in ("", "..") or not isinstance(size, int | None):
            raise ValueError(f"no file of an output folder is called {name}")
    return files


def join(earlier: Path, new: Path, drawn_again: Callable[[int], bool]) -> None:
    """Add the samples of `earlier` to `new`: two `samples.json`, of one part of a job and of its other parts.

    Args:
        earlier: it stays unchanged.
        new: replaced by the record of both.
        drawn_again: indices in `earlier` that are left out.
    """
    old, own = (read_head(path, SAMPLES_FILE) for path in (earlier, new))
    if set(old["shards"]) <= set(own["shards"]) and len(own["shards"]) > 1:
        return  # an earlier call, cut off later, has done it
    kept = (entry for entry in read_entries(earlier, SAMPLES_FILE) if not drawn_again(entry["index"]))
    num = own["num"] + sum(not drawn_again(entry["index"]) for entry in read_entries(earlier, SAMPLES_FILE))
    seconds = {name: round(own["seconds"].get(name, 0) + old["seconds"][name], 4) for name in old["seconds"]}
    head = {
        **own,
        "drawn": max(own["drawn"], old["drawn"]),
        "calls": max(own["calls"], old["calls"]),
        "num": num,
        "preview": old["preview"] or own["preview"],
        "interrupted": own["interrupted"] or old["interrupted"],
        "seconds": seconds,
        "shards": sorted({*own["shards"], *old["shards"]}, key=lambda shard: int(shard.partition("/")[0])),
        "files": {**own["files"], **old["files"]},
    }
    entries = heapq.merge(read_entries(new, SAMPLES_FILE), kept, key=lambda entry: int(entry["index"]))
    joined = new.with_name(JOINED)
    write_entries(joined, SAMPLES_FILE, head, map(json.dumps, entries))
    joined.replace(new)


def _head(file: TextIO, record: str) -> dict[str, Any]:
    """Read the file up to the entries."""
    lines: list[str] = []
    while sum(map(len, lines)) < _LINE:
        line = file.readline(_LINE)
        if not line:
            raise ValueError("no record of ours")
        if line.rstrip("\n") == f'  "{ENTRIES[record]}": [':
            head = _object("".join(lines).rstrip().removesuffix(",") + "}")
            if not {"run", "budget"} <= head.keys():
                raise ValueError("no record of ours")
            return head
        lines.append(line)
    raise ValueError("no record of ours")


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("no record of ours")
    return value
