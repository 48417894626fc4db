"""WebDataset's tar shards as training and validation data, for modalities whose samples lie in files.

Shards are indexed once, by where the file of each sample starts; a file is read when it is asked for, from the middle
of its shard. The webdataset library says which members make a sample, tarfile where they lie. Nothing is decoded here,
so nothing is ever unpickled, and nothing is unpacked to where a member's name points.
"""

from __future__ import annotations

import io
import logging
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, overload

import numpy as np

from anytime_core.display import shown
from anytime_core.errors import DataError
from anytime_core.extras import import_extra
from anytime_core.files import read_limited
from anytime_core.shard_index import LABEL_SUFFIX, WHOLE_NUMBER, ShardIndex, checked_member, index_shards, passed_over
from anytime_core.tar_members import content, first_member, open_tar
from anytime_core.user_files import VALIDATION_NAMES, LabelledFiles, SplitFiles, held_out

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_CLASS_FILES = ("classes.txt", "classnames.txt")
_LARGEST_CLASS_FILE = 2**22
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # longer than the letter of a drive

logger = logging.getLogger(__name__)


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
        """Its content. Raises DataError naming the shard where that cannot be read."""
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

    Shards with test, validation, val or valid as a word of their name or folder are for validation where there are
    others too; else `share` of the samples is held out. `KEY.cls` is a sample's label: a name, or a number, which
    counts the lines of `classes.txt` (or `classnames.txt`) from 0 where that file lies in `root`.

    Args:
        root: the config's `data.root`; None is the mistake of not setting it.
        suffixes: of a sample's own file, lower-case, such as `.png`.
        share: of the samples, for validation.
        noun: what one file is, for messages.

    Raises:
        DataError: naming the folder, the shard and the member that are at fault.
        UsageError: the webdataset library is not installed.
    """
    group = import_extra("webdataset.tariterators", "webdataset", "data.name=webdataset").group_by_keys
    root, shards = _find_shards(root)
    indexes = index_shards(shards, suffixes, noun, group)
    sizes = [len(index.offsets) for index in indexes]
    numbers = np.repeat(np.arange(len(shards), dtype=np.int32), sizes)
    files = ShardFiles(shards, numbers, np.concatenate([index.offsets for index in indexes]))
    if not len(files):
        raise DataError(f"no {noun}s in the {len(shards)} shards in {root}, such as {shards[0]}")
    held = np.repeat([_is_named_validation(shard.relative_to(root)) for shard in shards], sizes)
    if held.all() or not held.any():
        if len(files) < 2:
            raise DataError(f"{files[0]} is the only {noun}: at least 2 are needed, one of them for validation")
        held = held_out(np.concatenate([index.ranks for index in indexes]), share)
    for kind in passed_over(indexes, noun):
        logger.warning("%d %s, such as %s, are not used: %s", kind.count, kind.reason, kind.examples[0], kind.way_out)
    classes, labels = _labels(root, shards, indexes)
    train, validation = (
        LabelledFiles(files[part], None if labels is None else labels[part].tolist()) for part in (~held, held)
    )
    return SplitFiles(train, validation, classes)


def _find_shards(root: Path | None) -> tuple[Path, list[Path]]:
    if root is None:
        raise DataError("data.name=webdataset needs data.root=DIR, the folder that holds the shards")
    root = root.expanduser()
    if not root.is_dir():
        # The library would fetch such an address, or run it as a command.
        remote = ": shards are read at random places, so copy them to where they can be opened as files"
        raise DataError(f"data.root={root} is not a folder{remote if _ADDRESS.match(str(root)) else ''}")
    paths = sorted(
        path
        for path in root.rglob("*")
        if not any(part.startswith(".") for part in path.relative_to(root).parts) and path.is_file()
    )
    for path in paths:
        if path.name.lower().endswith(_COMPRESSED):
            raise DataError(
                f"{shown(path)} is compressed, so nothing in its middle can be read: unpack it to a plain .tar"
            )
    shards = [path for path in paths if path.suffix.lower() == ".tar"]
    if not shards:
        raise DataError(f"no shards in {root}: looked for *.tar in it and below")
    return root, shards


def _is_named_validation(path: Path) -> bool:
    words = re.split(r"[^a-z0-9]+", path.with_suffix("").as_posix().lower())
    return any(name in words for name in VALIDATION_NAMES)


def _labels(
    root: Path, shards: Sequence[Path], indexes: Sequence[ShardIndex]
) -> tuple[tuple[str, ...], np.ndarray | None]:
    """Names of the classes and numbers int64 [n] of all samples' classes; none unless every sample has a label."""
    total = sum(len(index.labels) for index in indexes)
    unlabelled = sum(int((index.labels < 0).sum()) for index in indexes)
    if unlabelled:
        if unlabelled < total:
            logger.warning(
                "%d of %d samples in %s have no %s: labels are not used", unlabelled, total, root, LABEL_SUFFIX
            )
        return (), None
    listed = next((root / name for name in _CLASS_FILES if (root / name).is_file()), None)
    found = {str(name) for index in indexes for name in index.names}
    if listed is not None:
        classes = _read_classes(listed)
    else:
        classes = tuple(sorted(found, key=int if all(map(WHOLE_NUMBER.fullmatch, found)) else None))
    if len(classes) < 2:
        return (), None
    numbers = {name: number for number, name in enumerate(classes)}
    if listed is not None:
        numbers |= {str(number): number for number in range(len(classes))}
    labels = []
    for shard, index in zip(shards, indexes, strict=True):
        unknown = next((name for name in map(str, index.names) if name not in numbers), None)
        if unknown is not None:
            raise DataError(
                f"{shown(shard)} has label {unknown!r}, which is neither a name in {shown(listed)} nor a number under "
                f"{len(classes)}"
            )
        labels.append(np.array([numbers[str(name)] for name in index.names], dtype=np.int64)[index.labels])
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
        raise DataError(f"{shown(path)} names class {twice!r} twice")
    return classes
