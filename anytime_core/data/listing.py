"""All files below a folder: one walk that follows links and still ends, and a tally of what it passes over."""

from __future__ import annotations

import errno
import os
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from anytime_core.display import counted, shown
from anytime_core.errors import DataError, system_reason
from anytime_core.found import PassedOver

_SYSTEM_NAMES = frozenset(
    {
        "__macosx",
        "__pycache__",
        "@eadir",
        "#recycle",
        "@recycle",
        "#snapshot",
        "$recycle.bin",
        "recycler",
        "system volume information",
        "lost+found",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "icon\r",
    }
)
"""What file managers, archives, storage devices and file systems leave beside a user's files, in lower case."""

_EXAMPLES = 3
_NAMED_SUFFIXES = 8
_DEPTH = 2  # folders below the root that make up a file's place: a part, and a class in it

Place = tuple[str, ...]
"""The folders that a file lies in, from the root on; only the first two count."""


class Tally:
    """How many files are passed over for each reason, with the first examples.

    Args:
        root: the folder that examples are named relative to.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.path.join(root, "")
        self._counts: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}
        self._ways_out: dict[str, str] = {}
        self._suffixes: Counter[str] = Counter()
        self._sidecars: list[str] = []

    def add(self, reason: str, path: str, *, way_out: str = "") -> None:
        """Count one more file or folder."""
        self._ways_out[reason] = way_out
        self.add_all(reason, (path,), 1)

    def add_all(self, reason: str, paths: Iterable[str], count: int) -> None:
        """Count `count` more; only the first few paths are used, as examples."""
        if not count:
            return
        self._counts[reason] += count
        examples = self._examples.setdefault(reason, [])
        examples.extend(self._name(path) for path in islice(paths, _EXAMPLES - len(examples)))

    def add_other(self, suffix: str, path: str) -> None:
        """Count a file that nobody expects to be used, such as a list of labels."""
        self._suffixes[suffix] += 1
        if len(self._sidecars) < _EXAMPLES:
            self._sidecars.append(self._name(path))

    def passed_over(self) -> tuple[PassedOver, ...]:
        """What was counted, the largest number first; files that nobody expects to be used come last, as one entry."""
        entries = [
            PassedOver(
                reason=reason,
                count=count,
                examples=tuple(self._examples[reason]),
                way_out=self._ways_out.get(reason, ""),
            )
            for reason, count in sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        ]
        if self._suffixes:
            named = sorted(self._suffixes.items(), key=lambda item: (-item[1], item[0]))
            kinds = [f"{count} {shown(suffix) or 'without suffix'}" for suffix, count in named[:_NAMED_SUFFIXES]]
            if rest := sum(count for _, count in named[_NAMED_SUFFIXES:]):
                kinds.append(f"{rest} more")
            entries.append(
                PassedOver(
                    reason=f"other files ({', '.join(kinds)})",
                    count=self._suffixes.total(),
                    examples=tuple(self._sidecars),
                )
            )
        return tuple(entries)

    def __str__(self) -> str:
        """The whole tally in one line."""
        return "; ".join(
            f"{counted(entry.count, entry.reason)}{entry.way_out and f': {entry.way_out}'}"
            for entry in self.passed_over()
        )

    def _name(self, path: str) -> str:
        return shown(path.removeprefix(self._root).replace(os.sep, "/"))


@dataclass(frozen=True)
class Listing:
    """Files below a folder, n of them, in the order of their paths.

    Attributes:
        files: their paths.
        sizes: int64 [n], their sizes in bytes.
        place_of: int32 [n], positions in `places`.
        places: the different places of all folders that were walked through, empty ones too.
    """

    files: list[Path]
    sizes: np.ndarray
    place_of: np.ndarray
    places: tuple[Place, ...]

    def take(self, wanted: np.ndarray) -> Listing:
        """Only the files for which `wanted`, bool [n], is true."""
        if wanted.all():
            return self
        files = [self.files[index] for index in np.flatnonzero(wanted)]
        return Listing(files, self.sizes[wanted], self.place_of[wanted], self.places)

    def counts(self) -> dict[Place, int]:
        """How many files have each place."""
        counts = np.bincount(self.place_of, minlength=len(self.places))
        return dict(zip(self.places, counts.tolist(), strict=True))


def list_files(
    root: Path,
    suffixes: Collection[str],
    tally: Tally,
    *,
    unread: Mapping[str, str] | None = None,
    known: Collection[str] = (),
) -> Listing:
    """All files below `root` with one of `suffixes`.

    Hidden and system files and folders are passed over. Links to files and folders are followed; in each folder of the
    first two levels no other folder is read twice, so that links in circles end.

    Args:
        suffixes: lower-case, such as `.png`; matched in any case of letters.
        tally: counts what is passed over.
        unread: further suffixes that a user may expect to be read -> what would help.
        known: names of files that are read for their own sake, and so do not count as passed over.

    Raises:
        DataError: `root` cannot be read.
    """
    endings, unread = tuple(suffixes), unread or {}
    files: list[Path] = []
    sizes, place_of = array("q"), array("i")
    places: list[Place] = [()]
    try:
        status = root.stat()
        way: list[tuple[Iterator[os.DirEntry[str]], int, set[tuple[int, int]]]] = [
            (_entries(root), 0, {(status.st_dev, status.st_ino)})
        ]
    except OSError as error:
        raise DataError(f"{shown(root)} cannot be read: {system_reason(error)}") from error
    while way:
        entries, place, seen = way[-1]
        entry = next(entries, None)
        if entry is None:
            way.pop()
            continue
        name = entry.name
        try:
            if name.startswith(".") or name.casefold() in _SYSTEM_NAMES:
                kind = "folders" if entry.is_dir(follow_symlinks=False) else "files"
                tally.add(f"hidden and system {kind}", entry.path)
            elif entry.is_file():
                if name.lower().endswith(endings):
                    sizes.append(entry.stat().st_size)
                    place_of.append(place)
                    files.append(Path(entry.path))
                elif (suffix := os.path.splitext(name)[1].lower()) in unread:
                    tally.add(f"files with suffix {suffix}, which is not read", entry.path, way_out=unread[suffix])
                elif name not in known:
                    tally.add_other(suffix, entry.path)
            elif entry.is_dir():
                status = os.stat(entry.path)
                folder = status.st_dev, status.st_ino
                if folder in seen:
                    tally.add("folders that were read under another name", entry.path)
                    continue
                below = _entries(entry.path)
                if len(way) <= _DEPTH:
                    places.append((*places[place], name))
                    place = len(places) - 1
                    # A class of its own may hold what another one holds.
                    seen = seen.copy()
                seen.add(folder)
                way.append((below, place, seen))
            else:
                entry.stat()  # raises for a link that leads nowhere
                tally.add("pipes, devices and sockets", entry.path)
        except OSError as error:
            nowhere = entry.is_symlink() and error.errno in (errno.ELOOP, errno.ENOENT)
            tally.add("links that lead nowhere" if nowhere else "files and folders that cannot be read", entry.path)
    return Listing(files, np.array(sizes, np.int64), np.array(place_of, np.int32), tuple(places))


def _entries(folder: Path | str) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return iter(sorted(entries, key=lambda entry: entry.name))
