"""WebDataset's tar shards as training and validation data, for modalities whose samples lie in files.

Shards are indexed once, by where the file of each sample starts; a file is read when it is asked for, from the middle
of its shard. The webdataset library says which members make a sample, tarfile where they lie. Nothing is decoded here,
so nothing is ever unpickled, and nothing is unpacked to where a member's name points.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import tarfile
import zipfile
import zlib
from array import array
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from anytime_core.display import shown
from anytime_core.errors import DataError
from anytime_core.extras import import_extra
from anytime_core.files import replacing
from anytime_core.found import Found, class_counts
from anytime_core.listing import Listing, Tally, list_files
from anytime_core.locations import cache_folder
from anytime_core.splitting import TRAINING_NAMES, VALIDATION_NAMES, Items, Split, split
from anytime_core.user_files import LabelledFiles, SplitFiles, rank

_FORMAT = 1
_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
_CLASS_FILES = ("classes.txt", "classnames.txt")
_LABEL = ".cls"
_LARGEST_FILE, _LARGEST_LABEL = 2**30, 1000  # bytes; a file is read as a whole
_TAIL = 2**20  # bytes looked at after the last member; writers add 10 KiB at most
_METADATA = re.compile(r"__[^/]*__($|/)")  # what the library leaves out
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # longer than the letter of a drive
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,9}")

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
        with _open_tar(self.shard, self.offset) as tar:
            return io.BytesIO(_content(tar, _first(tar)))

    def __str__(self) -> str:
        try:
            with _open_tar(self.shard, self.offset) as tar:
                return f"{self.shard}/{_first(tar).name}"
        except DataError:
            return f"{self.shard} at byte {self.offset}"


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


@dataclass(frozen=True)
class _Index:
    """The samples of one shard, n of them.

    Attributes:
        offsets: int64 [n], where the members of their files start.
        ranks: uint32 [n], see `user_files.rank`.
        labels: int32 [n], positions in `names`, -1 where a sample has no label.
        names: the different labels as they are written.
    """

    offsets: np.ndarray
    ranks: np.ndarray
    labels: np.ndarray
    names: np.ndarray


def split_shards(root: Path | None, suffixes: Collection[str], *, share: float, noun: str) -> SplitFiles:
    """The samples of all shards below `root`, split for training and validation.

    Shards with val, test or another of `VALIDATION_NAMES` as a word of their name, or else of their folder, are for
    validation where there are others too; else `share` of the samples is held out. `KEY.cls` is a sample's label: a
    name, or a number, which counts the lines of `classes.txt` (or `classnames.txt`) from 0 where that file lies in
    `root`.

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
    root, listed, tally = _find_shards(root)
    listed, held, notes = _named_parts(root, listed, tally)
    shards = listed.files
    indexes = _index_all(shards, suffixes, noun, group)
    sizes = [len(index.offsets) for index in indexes]
    numbers = np.repeat(np.arange(len(shards), dtype=np.int32), sizes)
    files = ShardFiles(shards, numbers, np.concatenate([index.offsets for index in indexes]))
    if not len(files):
        raise DataError(f"no {noun}s in the {len(shards)} shards in {shown(root)}, such as {shown(shards[0])}")
    classes, labels = _labels(root, shards, indexes)
    items = Items(
        name=lambda index: str(files[index]),
        labels=labels,
        classes=classes,
        held=None if held is None else np.repeat(held, sizes),
        ranks=lambda: np.concatenate([index.ranks for index in indexes]),
    )
    result = split(items, share, tally, noun=noun, unlabelled=f"{noun}s without {_LABEL}")
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
        passed_over=tally.passed_over(),
        digest=_digest(root, listed, files, result),
    )
    return SplitFiles(train, validation, result.classes, found)


def _find_shards(root: Path | None) -> tuple[Path, Listing, Tally]:
    if root is None:
        raise DataError("data.name=webdataset needs data.root=DIR, the folder that holds the shards")
    root = root.expanduser()
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
    """The shards that are used, which of them are held out, and what was taken for what.

    The second is bool [n], None where names do not say it.
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
    """The word in a shard's name, or else in the nearest folder's, that says which part it is of."""
    for name in reversed(path.with_suffix("").parts):
        words = re.split(r"[^a-z0-9]+", name.lower())
        if word := next((word for word in (*VALIDATION_NAMES, *TRAINING_NAMES) if word in words), None):
            return word
    return None


def _digest(root: Path, listed: Listing, files: ShardFiles, result: Split) -> str:
    """SHA-256 of the shards' names below `root` and sizes, and of the places, parts and classes of samples."""
    digest = hashlib.sha256()
    for shard, size in zip(listed.files, listed.sizes.tolist(), strict=True):
        digest.update(f"{shard.relative_to(root).as_posix()}\0{size}\n".encode(errors="surrogateescape"))
    digest.update("\0".join(result.classes).encode())
    for part in (result.train, result.validation):
        labels = np.zeros(0) if result.labels is None else result.labels[part]
        for values in (files.numbers[part], files.offsets[part], labels):
            digest.update(f"\n{len(values)}\n".encode() + values.astype("<i8").tobytes())
    return digest.hexdigest()


def _labels(root: Path, shards: Sequence[Path], indexes: Sequence[_Index]) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the classes and numbers int64 [n] of all samples' classes, -1 where a sample has none."""
    listed = next((root / name for name in _CLASS_FILES if (root / name).is_file()), None)
    found = {str(name) for index in indexes for name in index.names}
    if listed is not None:
        classes = _read_classes(listed)
    else:
        classes = tuple(sorted(found, key=int if all(map(_WHOLE_NUMBER.fullmatch, found)) else None))
    numbers = {name: number for number, name in enumerate(classes)}
    if listed is not None:
        numbers |= {str(number): number for number in range(len(classes))}
    labels = []
    for shard, index in zip(shards, indexes, strict=True):
        unknown = next((name for name in map(str, index.names) if name not in numbers), None)
        if unknown is not None:
            raise DataError(
                f"{shard} has label {unknown!r}, which is neither a name in {listed} nor a number under {len(classes)}"
            )
        known = [numbers[str(name)] for name in index.names]
        labels.append(np.array([*known, -1], dtype=np.int64)[index.labels])
    return classes, np.concatenate(labels)


def _read_classes(path: Path) -> tuple[str, ...]:
    try:
        classes = tuple(line.strip() for line in path.read_text(encoding="utf-8").strip().splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as names of classes: {error}") from error
    if len(set(classes)) < len(classes):
        twice = next(name for name in classes if classes.count(name) > 1)
        raise DataError(f"{path} names class {twice!r} twice")
    return classes


# The index


def _index_all(
    shards: Sequence[Path], suffixes: Collection[str], noun: str, group: Callable[..., Iterator[dict[str, Any]]]
) -> list[_Index]:
    """The index of each shard, from the user's cache where it is there."""
    places = [_index_place(shard, suffixes) for shard in shards]
    indexes = [_read_index(place) for place in places]
    if missing := indexes.count(None):
        logger.info("indexing %d shards, once, into %s", missing, cache_folder("shards"))
    whole = []
    for shard, place, index in zip(shards, places, indexes, strict=True):
        if index is None:
            index = _make_index(shard, suffixes, noun, group)
            # Without a cache the next command makes the index again.
            with suppress(OSError):
                place.parent.mkdir(parents=True, exist_ok=True)
                with replacing(place, durable=False) as temporary:
                    np.savez(temporary, **vars(index))
        whole.append(index)
    return whole


def _index_place(shard: Path, suffixes: Collection[str]) -> Path:
    status = shard.stat()
    key = [_FORMAT, str(shard.absolute()), status.st_size, status.st_mtime_ns, sorted(suffixes)]
    return cache_folder("shards") / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}.npz"


def _read_index(place: Path) -> _Index | None:
    try:
        with np.load(place, allow_pickle=False) as stored:
            return _Index(**stored)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error):
        return None


def _make_index(
    shard: Path, suffixes: Collection[str], noun: str, group: Callable[..., Iterator[dict[str, Any]]]
) -> _Index:
    offsets, ranks, labels = array("q"), array("q"), array("q")
    names: dict[str, int] = {}
    keys: set[str] = set()
    for sample in _samples(shard, group):
        key, label = sample["__key__"], sample.get(_LABEL[1:])
        if key in keys:
            raise DataError(f"{shard} has sample {key!r} twice; the files of a sample must follow each other")
        keys.add(key)
        media = [member for suffix, member in sample.items() if f".{suffix}" in suffixes]
        if len(media) != 1:
            wrong = f"{len(media)} {noun}s, not one" if media else f"no {noun}"
            raise DataError(f"{shard}: sample {key!r} has {wrong}: looked for {', '.join(sorted(suffixes))}")
        _check_size(shard, media[0], _LARGEST_FILE)
        offsets.append(media[0].offset)
        ranks.append(rank(f"{shard.name}/{key}"))
        labels.append(-1 if label is None else names.setdefault(label, len(names)))
    return _Index(
        np.array(offsets, dtype=np.int64),
        np.array(ranks, dtype=np.uint32),
        np.array(labels, dtype=np.int32),
        np.array(list(names), dtype=np.str_),
    )


def _samples(shard: Path, group: Callable[..., Iterator[dict[str, Any]]]) -> Iterator[Mapping[str, Any]]:
    try:
        yield from group(_members(shard))
    except ValueError as error:  # the library's "NAME: duplicate file name in tar file ..."
        raise DataError(f"{shard} has a file twice: {str(error.args[0]).partition(': duplicate')[0]!r}") from error


def _members(shard: Path) -> Iterator[dict[str, Any]]:
    """The files of a shard as the library takes them; in place of content the member, or what a label says."""
    with _open_tar(shard) as tar:
        for member in tar:
            tar.members = []  # type: ignore[attr-defined]  # a list of all, which would grow with the shard
            if not member.isreg() or _METADATA.match(member.name):
                continue
            if member.name.startswith("/") or ".." in member.name.split("/"):
                raise DataError(f"{shard}: member {member.name!r} names a place outside of the shard")
            value = _label(shard, tar, member) if member.name.lower().endswith(_LABEL) else member
            yield {"fname": member.name, "data": value, "__url__": str(shard)}
        # tarfile takes whatever is no header for the end.
        if tar.fileobj is not None:
            tar.fileobj.seek(tar.offset)
            rest = tar.fileobj.read(_TAIL)
            if len(rest) < tarfile.BLOCKSIZE or rest.strip(b"\0"):
                raise DataError(f"{shard} is truncated or damaged at byte {tar.offset}")


def _label(shard: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    _check_size(shard, member, _LARGEST_LABEL)
    label = _content(tar, member).decode("utf-8", "replace").strip()
    if not label or not label.isprintable():
        raise DataError(f"{shard}: member {member.name!r} is no label: it holds {label[:40]!r}")
    return str(int(label)) if _WHOLE_NUMBER.fullmatch(label) else label


def _check_size(shard: Path, member: tarfile.TarInfo, largest: int) -> None:
    if member.size > largest:
        raise DataError(f"{shard}: member {member.name!r} has {member.size} bytes, more than the {largest} it may have")


# Reading


@contextmanager
def _open_tar(shard: Path, offset: int = 0) -> Iterator[tarfile.TarFile]:
    """A shard from `offset` on, where a member starts. Opened anew each time, so that processes share nothing."""
    try:
        with shard.open("rb") as file:
            file.seek(offset)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                yield tar
    except (tarfile.TarError, OSError, ValueError, ArithmeticError, MemoryError) as error:  # of damaged headers
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{shard} cannot be read as a tar file from byte {offset} on: {reason}") from error


def _first(tar: tarfile.TarFile) -> tarfile.TarInfo:
    member = tar.next()
    if member is None:
        raise tarfile.ReadError("no member starts there")
    return member


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    if file is None:
        raise tarfile.ReadError(f"{member.name!r} is no file")
    return file.read()
