"""A user's own folder of files as training and validation data, for modalities whose samples lie in files.

Class folders become labels; folders named like splits are the splits.
"""

from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anytime_core.data.listing import Place, Tally, list_files
from anytime_core.data.locations import user_path
from anytime_core.data.reading import open_regular
from anytime_core.data.splitting import TRAINING_NAMES, VALIDATION_NAMES, Items, held_out, split
from anytime_core.digest import digest
from anytime_core.display import shown
from anytime_core.errors import DataError
from anytime_core.found import Found, PassedOver, class_counts

if TYPE_CHECKING:
    from anytime_core.data.shards import ShardFile

_BEGINNINGS, _BEGINNING = 256, 2**16
"""How many files of a part go into its digest, and how many of their first bytes."""


@dataclass(frozen=True)
class LabelledFiles:
    """Files and, if known, the class number of each."""

    files: Sequence[Path | ShardFile]
    labels: list[int] | None = None


@dataclass(frozen=True)
class SplitFiles:
    """Disjoint training and validation files, the names of the labels 0, 1, ..., and what was found."""

    train: LabelledFiles
    validation: LabelledFiles
    classes: tuple[str, ...] = ()
    found: Found | None = None


@dataclass(frozen=True)
class _Parts:
    """Where in a folder the two parts lie: below the folders of these places.

    Attributes:
        train: the folder whose subfolders are classes.
        validation: the same for validation; None if no folder is named so.
        others: what `Tally` calls files that lie elsewhere; empty if there cannot be any.
        notes: sentences that say which folder was taken for which part.
    """

    train: Place
    validation: Place | None
    others: str
    notes: tuple[str, ...]


def split_folder(
    root: Path | None,
    suffixes: Collection[str],
    *,
    share: float,
    noun: str,
    unread: Mapping[str, str] | None = None,
) -> SplitFiles:
    """All files below `root` with one of `suffixes`, split for training and validation.

    Folders named train and val (or validation, test, ...) directly below are the two parts; otherwise `share` of the
    files is held out. Folders directly below a part are its classes if there are two or more and most of the files lie
    in one; what lies beside them is then passed over.

    Args:
        root: the `data.root` of the config; None is refused.
        suffixes: lower-case, such as `.png`.
        share: the share of the files that is held out for validation.
        noun: the word for one file, for messages.
        unread: further suffixes that a user may expect to be read -> what would help.

    Raises:
        DataError: there is no root, no folder or no file, or only one file.
    """
    root = _existing(root, noun)
    tally = Tally(root)
    listed = list_files(root, suffixes, tally, unread=unread)
    empty = np.flatnonzero(listed.sizes == 0)
    tally.add_all(f"empty {noun}s", (str(listed.files[index]) for index in empty), len(empty))
    listed = listed.take(listed.sizes > 0)
    parts = _find_parts(listed.counts(), noun)
    part_of, label_of, classes = _understand(listed.places, parts)
    part = part_of[listed.place_of]
    for number, place in enumerate((parts.train, parts.validation)):
        if place is not None and not (part == number).any():
            passed_over = f"; passed over: {tally}" if str(tally) else ""
            raise DataError(
                f"no {noun}s in {shown(root.joinpath(*place))}: looked for {', '.join(sorted(suffixes))} "
                f"in it and below{passed_over}"
            )
    others = np.flatnonzero(part < 0)
    tally.add_all(parts.others, (str(listed.files[index]) for index in others), len(others))
    listed, part = listed.take(part >= 0), part[part >= 0]
    items = Items(
        name=lambda index: str(listed.files[index]),
        labels=label_of[listed.place_of],
        classes=classes,
        held=None if parts.validation is None else part == 1,
        ranks=lambda: _ranks(listed.files, root),
    )
    result = split(items, share, tally, noun=noun, unlabelled=f"{noun}s beside class folders")
    train, validation = (
        LabelledFiles(
            [listed.files[index] for index in indices],
            None if result.labels is None else result.labels[indices].tolist(),
        )
        for indices in (result.train, result.validation)
    )
    sizes = [listed.sizes[indices].tolist() for indices in (result.train, result.validation)]
    notes = (*parts.notes, *result.notes)
    return _with_found(root, SplitFiles(train, validation, result.classes), sizes, notes, tally.passed_over())


def _existing(root: Path | None, noun: str) -> Path:
    if root is None:
        raise DataError(f"data.name=folder needs data.root=DIR, the folder that holds the {noun}s")
    root = user_path(root)
    if not root.is_dir():
        raise DataError(f"data.root={shown(root)} is not a folder")
    return root


def with_found(root: Path, split: SplitFiles) -> SplitFiles:
    """`split` for files below `root` that were listed in another way, with the record of what was found."""
    sizes = [[_size(file) for file in part.files] for part in (split.train, split.validation)]
    return _with_found(root, split, sizes)


def _with_found(
    root: Path,
    split: SplitFiles,
    sizes: Sequence[Sequence[int]],
    notes: tuple[str, ...] = (),
    passed_over: tuple[PassedOver, ...] = (),
) -> SplitFiles:
    found = Found(
        root=root.absolute(),
        train=len(split.train.files),
        validation=len(split.validation.files),
        classes=class_counts(split.classes, split.train.labels, split.validation.labels),
        notes=notes,
        passed_over=passed_over,
        digest=_digest(root, (split.train, split.validation), sizes),
    )
    return replace(split, found=found)


def _find_parts(counts: Mapping[Place, int], noun: str) -> _Parts:
    """Which folders are trained on and which are held out, from how many files lie in each place."""
    tops: Counter[str] = Counter()
    for place, count in counts.items():
        if place:
            tops[place[0]] += count
    train, validation = (_named(tops, names) for names in (TRAINING_NAMES, VALIDATION_NAMES))
    if train and validation:
        notes = [f"{shown(train[0])}/ is trained on, {shown(validation[0])}/ is held out"]
        for name in (*train[1:], *validation[1:]):
            notes.append(f"{shown(name)}/ is not used")
        beside = f"{noun}s beside {shown(train[0])}/ and {shown(validation[0])}/"
        return _Parts((train[0],), (validation[0],), beside, tuple(notes))
    others = [name for name, count in tops.items() if count and name not in train[:1]]
    if train and tops[train[0]]:
        holds_classes = [name for name in (train[0], *others) if _classes_below(counts, name) > 1]
        if not others or holds_classes == train[:1]:
            note = f"only {shown(train[0])}/ is used, a share of it is held out"
            return _Parts((train[0],), None, f"{noun}s beside {shown(train[0])}/", (note,))
        return _Parts((), None, "", (f"{shown(train[0])}/ is a class like the folders beside it: none is named val",))
    if len(others) == 1 and not counts[()] and _classes_below(counts, others[0]) > 1:
        name = shown(others[0])
        note = f"all {noun}s lie in {name}/, so there are no classes: set data.root to it to use the folders in it"
        return _Parts((), None, "", (note,))
    return _Parts((), None, "", ())


def _named(tops: Mapping[str, int], names: Sequence[str]) -> list[str]:
    """Folders with one of `names`, in any case of letters: those that hold files first, then in `names`' order."""
    return sorted(
        (name for name in tops if name.casefold() in names),
        key=lambda name: (not tops[name], names.index(name.casefold()), name),
    )


def _classes_below(counts: Mapping[Place, int], name: str) -> int:
    return sum(1 for place, count in counts.items() if count and place[:1] == (name,) and len(place) > 1)


def _understand(places: Sequence[Place], parts: _Parts) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """For each place its part (0 train, 1 validation, -1 neither) and its label (-1: none); and the names of labels."""
    roots = [parts.train] if parts.validation is None else [parts.train, parts.validation]
    depth = len(parts.train)
    part_of = [next((part for part, root in enumerate(roots) if place[:depth] == root), -1) for place in places]
    # Names that are not valid Unicode could not be kept in a record.
    named = [
        place[depth].encode(errors="backslashreplace").decode() if part >= 0 and len(place) > depth else None
        for place, part in zip(places, part_of, strict=True)
    ]
    classes = tuple(sorted({name for name in named if name is not None}))
    numbers = {name: number for number, name in enumerate(classes)}
    labels = [-1 if name is None else numbers[name] for name in named]
    return np.array(part_of, np.int64), np.array(labels, np.int64), classes


def hold_out(
    files: Sequence[Path], root: Path, share: float, noun: str, *, classes: Sequence[str] | None = None
) -> tuple[list[int], list[int]]:
    """Indices of the training and of the validation files, at least one of each.

    A file's part follows from its path below `root`, so adding files moves none of the others, and neither does moving
    all of them. `classes` has a name for each file; of each class at least one file is trained on.

    Raises:
        DataError: there is only one file.
    """
    if len(files) < 2:
        raise DataError(f"{shown(files[0])} is the only {noun}: at least 2 are needed, one of them for validation")
    labels = None if classes is None else np.unique(classes, return_inverse=True)[1]
    held = held_out(_ranks(files, root), share, labels)
    return np.flatnonzero(~held).tolist(), np.flatnonzero(held).tolist()


def rank(name: str) -> int:
    """A number below 2**32 that follows from the name of an item; `held_out` orders items by it."""
    return zlib.crc32(name.encode(errors="surrogateescape"))


def _digest(root: Path, parts: Sequence[LabelledFiles], sizes: Sequence[Sequence[int]]) -> str:
    """SHA-256 of the names below `root`, sizes, parts and labels of files, in order, and of the first bytes of some."""

    def described() -> Iterator[bytes]:
        for number, (part, sizes_of_part) in enumerate(zip(parts, sizes, strict=True)):
            labels = repeat(None) if part.labels is None else part.labels
            for name, size, label in zip(_names_below(root, part.files), sizes_of_part, labels, strict=False):
                yield f"{number}\0{label}\0{name}\0{size}\n".encode(errors="surrogateescape")
            yield beginnings(part.files)

    return digest(described())


def beginnings(files: Sequence[Path | ShardFile]) -> bytes:
    """SHA-256 of the first bytes of some files, evenly spread: it tells files of the same names and sizes apart."""

    def read() -> Iterator[bytes]:
        for index in range(0, len(files), max(1, -(-len(files) // _BEGINNINGS))):
            file = files[index]
            with suppress(OSError, DataError), open_regular(file) if isinstance(file, Path) else file.open() as opened:
                yield opened.read(_BEGINNING)

    return bytes.fromhex(digest(read()))


def _size(file: Path | ShardFile) -> int:
    return file.stat().st_size if isinstance(file, Path) and file.exists() else 0


def _ranks(files: Sequence[Path], root: Path) -> np.ndarray:
    ranks = (rank("/".join(name.split("/")[-2:])) for name in _names_below(root, files))
    return np.fromiter(ranks, np.int64, len(files))


def _names_below(root: Path, files: Iterable[object]) -> Iterator[str]:
    prefix = os.path.join(root, "")
    return (str(file).removeprefix(prefix).replace(os.sep, "/") for file in files)
