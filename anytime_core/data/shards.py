"""WebDataset's tar shards as training and validation data, for modalities whose samples lie in files.

Shards are indexed once, by where the file of each sample starts; a file is read when it is asked for, from the middle
of its shard. The webdataset library says which members make a sample, tarfile where they lie. Nothing is decoded here,
so nothing is ever unpickled, and nothing is unpacked to where a member's name points.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, overload

import numpy as np

from anytime_core.data.listing import Listing, Tally, list_files
from anytime_core.data.locations import user_path
from anytime_core.data.reading import read_limited
from anytime_core.data.shard_index import (
    LABEL_SUFFIX,
    WHOLE_NUMBER,
    ShardIndex,
    checked_member,
    index_shards,
    passed_over,
)
from anytime_core.data.splitting import TRAINING_NAMES, VALIDATION_NAMES, Items, Split, split
from anytime_core.data.tar_members import content, first_member, open_tar
from anytime_core.data.user_files import LabelledFiles, SplitFiles, beginnings
from anytime_core.digest import digest
from anytime_core.display import counted, shown
from anytime_core.errors import DataError
from anytime_core.extras import import_extra
from anytime_core.found import Found, class_counts

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_CLASS_FILES = ("classes.txt", "classnames.txt")
_LARGEST_CLASS_FILE = 2**22
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # longer than a drive letter


@dataclass(frozen=True)
class ShardFile:
    """A file in a shard, opened and named like a path.

    Attributes:
        shard: the tar file.
        offset: where its member starts, in bytes.
    """

    shard: Path
    offset: int

    def open(self, mode: Literal["rb"] = "rb") -> io.BytesIO:
        """Its content. Raises DataError, naming the shard, if it cannot be read."""
        with open_tar(self.shard, self.offset) as tar:
            return io.BytesIO(content(tar, checked_member(self.shard, first_member(tar))))

    def __str__(self) -> str:
        try:
            with open_tar(self.shard, self.offset) as tar:
                return shown(f"{self.shard}/{first_member(tar).name}")
        except DataError:
            return f"{shown(self.shard)} at byte {self.offset}"


class ShardFiles(Sequence[ShardFile]):
    """Files in shards, made when they are asked for: twelve bytes of memory each.

    Args:
        shards: the tar files.
        numbers: int32 [n], the position in `shards` of each file's shard.
        offsets: int64 [n], see `ShardFile`.
    """

    def __init__(self, shards: Sequence[Path], numbers: np.ndarray, offsets: np.ndarray) -> None:
        self.shards, self.numbers, self.offsets = shards, numbers, offsets

    def __len__(self) -> int:
        return len(self.offsets)

    @overload
    def __getitem__(self, index: int) -> ShardFile: ...

    @overload
    def __getitem__(self, index: slice | np.ndarray) -> ShardFiles: ...

    def __getitem__(self, index: int | slice | np.ndarray) -> ShardFile | ShardFiles:
        if isinstance(index, slice | np.ndarray):
            return ShardFiles(self.shards, self.numbers[index], self.offsets[index])
        return ShardFile(self.shards[self.numbers[index]], int(self.offsets[index]))


def split_shards(root: Path | None, suffixes: Collection[str], *, share: float, noun: str) -> SplitFiles:
    """The samples of all shards below `root`, split for training and validation.

    Shards with val, test or another of `VALIDATION_NAMES` as a word of their name, or else of their folder, are for
    validation if there are others too; else `share` of the samples is held out. `KEY.cls` is a sample's label: a
    name, or a number, which counts the lines of `classes.txt` (or `classnames.txt`) from 0 if that file lies in
    `root`.

    Args:
        root: the `data.root` of the config; None is refused.
        suffixes: those of a sample's own file, lower-case, such as `.png`.
        share: of the samples, for validation.
        noun: the word for one file, for messages.

    Raises:
        DataError: there are no shards or samples, or one is at fault; the message names folder, shard and member.
        UsageError: the webdataset library is not installed.
    """
    group = import_extra("webdataset.tariterators", "webdataset", "data.name=webdataset").group_by_keys
    root, listed, tally = _find_shards(root)
    listed, held, notes = _named_parts(root, listed, tally)
    shards = listed.files
    indexes = index_shards(shards, suffixes, noun, group)
    sizes = [len(index.offsets) for index in indexes]
    numbers = np.repeat(np.arange(len(shards), dtype=np.int32), sizes)
    files = ShardFiles(shards, numbers, np.concatenate([index.offsets for index in indexes]))
    if not len(files):
        raise DataError(
            f"no {noun}s in {counted(len(shards), 'shards')} in {shown(root)}, such as {shown(shards[0])}: looked for "
            f"{', '.join(sorted(suffixes))} in them"
        )
    classes, labels = _labels(root, shards, indexes)
    items = Items(
        name=lambda index: str(files[index]),
        labels=labels,
        classes=classes,
        held=None if held is None else np.repeat(held, sizes),
        ranks=lambda: np.concatenate([index.ranks for index in indexes]),
    )
    result = split(items, share, tally, noun=noun, unlabelled=f"{noun}s without {LABEL_SUFFIX}")
    train, validation = (
        LabelledFiles(files[part], None if result.labels is None else result.labels[part].tolist())
        for part in (result.train, result.validation)
    )
    found = Found(
        root=root.absolute(),
        train=len(train.files),
        validation=len(validation.files),
        classes=class_counts(result.classes, train.labels, validation.labels),
        notes=(*notes, *result.notes),
        passed_over=(*tally.passed_over(), *passed_over(indexes, noun)),
        digest=_digest(root, listed, files, result),
    )
    return SplitFiles(train, validation, result.classes, found)


def _find_shards(root: Path | None) -> tuple[Path, Listing, Tally]:
    if root is None:
        raise DataError("data.name=webdataset needs data.root=DIR, the folder that holds the shards")
    root = user_path(root)
    if not root.is_dir():
        # The library would fetch such an address, or run it as a command.
        remote = ": shards are read at random places, so copy them to where they can be opened as files"
        raise DataError(f"data.root={shown(root)} is not a folder{remote if _ADDRESS.match(str(root)) else ''}")
    tally = Tally(root)
    listed = list_files(root, (".tar", *_COMPRESSED), tally, known=_CLASS_FILES)
    for path in listed.files:
        if path.suffix.lower() != ".tar":
            raise DataError(
                f"{shown(path)} is compressed, so nothing in its middle can be read: unpack it to a plain .tar"
            )
    if not listed.files:
        passed_over = f"; passed over: {tally}" if str(tally) else ""
        raise DataError(f"no shards in {shown(root)}: looked for *.tar in it and below{passed_over}")
    return root, listed, tally


def _named_parts(root: Path, listed: Listing, tally: Tally) -> tuple[Listing, np.ndarray | None, tuple[str, ...]]:
    """The shards that are used, which of them are held out, and a note on how they were told apart.

    The second is bool [n], None if no names say so.
    """
    names = [_part_name(shard.relative_to(root)) for shard in listed.files]
    held = next((name for name in VALIDATION_NAMES if name in names), None)
    trained = {*names} & {*TRAINING_NAMES} or {*names} & {None}
    if held is None or not trained:
        return listed, None, ()
    for name, shard in zip(names, listed.files, strict=True):
        if name != held and name not in trained:
            tally.add(f"shards named {name}" if name else "shards not named for a part", str(shard))
    others = " and ".join(sorted(f"those named {name}" for name in trained if name)) or "the others"
    used = np.array([name == held or name in trained for name in names])
    note = f"shards named {held} are held out, {others} are trained on"
    return listed.take(used), np.array([name == held for name in names])[used], (note,)


def _part_name(path: Path) -> str | None:
    """The word in a shard's name, or else in the name of its nearest folder, that says which part it belongs to."""
    for name in reversed(path.with_suffix("").parts):
        words = re.split(r"[^a-z0-9]+", name.lower())
        if word := next((word for word in (*VALIDATION_NAMES, *TRAINING_NAMES) if word in words), None):
            return word
    return None


def _digest(root: Path, listed: Listing, files: ShardFiles, result: Split) -> str:
    """SHA-256 of the shards' names below `root` and sizes, and of the places, parts and classes of samples."""

    def described() -> Iterator[bytes]:
        for shard, size in zip(listed.files, listed.sizes.tolist(), strict=True):
            yield f"{shard.relative_to(root).as_posix()}\0{size}\n".encode(errors="surrogateescape")
        yield "\0".join(result.classes).encode()
        for part in (result.train, result.validation):
            labels = np.zeros(0) if result.labels is None else result.labels[part]
            for values in (files.numbers[part], files.offsets[part], labels):
                yield f"\n{len(values)}\n".encode() + values.astype("<i8").tobytes()
            yield beginnings(files[part])

    return digest(described())


def _labels(root: Path, shards: Sequence[Path], indexes: Sequence[ShardIndex]) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the classes and numbers int64 [n] of all samples' classes, -1 if a sample has none."""
    listed = next((root / name for name in _CLASS_FILES if (root / name).is_file()), None)
    found = {str(name) for index in indexes for name in index.names}
    if listed is not None:
        classes = _read_classes(listed)
    else:
        classes = tuple(sorted(found, key=int if all(map(WHOLE_NUMBER.fullmatch, found)) else None))
    numbers = {name: number for number, name in enumerate(classes)}
    if listed is not None:
        numbers |= {str(number): number for number in range(len(classes))}
    labels = []
    for shard, index in zip(shards, indexes, strict=True):
        unknown = next((name for name in map(str, index.names) if name not in numbers), None)
        if unknown is not None:
            raise DataError(
                f"{shown(shard)} has label {unknown!r}, which is neither a name in {shown(listed)} nor a number under "
                f"{len(classes)}: add it there, or pack the shard again"
            )
        known = [numbers[str(name)] for name in index.names]
        labels.append(np.array([*known, -1], dtype=np.int64)[index.labels])
    return classes, np.concatenate(labels)


def _read_classes(path: Path) -> tuple[str, ...]:
    try:
        text = read_limited(path, _LARGEST_CLASS_FILE).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{shown(path)} cannot be read as names of classes: {reason}") from error
    classes = tuple(line.strip() for line in text.strip().splitlines())
    if len(set(classes)) < len(classes):
        twice = Counter(classes).most_common(1)[0][0]
        raise DataError(f"{shown(path)} names class {twice!r} twice: write a name a line, in the order of numbers")
    return classes
