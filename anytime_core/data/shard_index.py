"""Indexes of tar shards: where the file of each sample starts and what its label is, found once and kept in the cache.

The cache may have been damaged: an index that cannot belong to its shard is made again.
"""

from __future__ import annotations

import logging
import re
import tarfile
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from anytime_core.data.files import replacing
from anytime_core.data.locations import cache_folder
from anytime_core.data.reading import open_regular
from anytime_core.data.tar_members import REPLACE, content, members, open_tar
from anytime_core.data.user_files import rank
from anytime_core.digest import digest
from anytime_core.display import counted, shown
from anytime_core.errors import DataError
from anytime_core.found import PassedOver

LABEL_SUFFIX = ".cls"
WHOLE_NUMBER = re.compile(r"-?[0-9]{1,9}")
"""A label that is the number of a class."""

_FORMAT = 2
_LARGEST_FILE, _LARGEST_LABEL = 2**30, 1000  # bytes; a file is read as a whole
_TAIL = 2**20  # bytes looked at after the last member; writers add 10 KiB at most
_LONGEST_EXAMPLE = 200
_METADATA = re.compile(r"__[^/]*__($|/)")  # files that the library leaves out
_HIDDEN = re.compile(r"(^|/)\.(?!\.?(/|$))")  # such as ._NAME beside NAME, which macOS adds
_REASONS = (
    ("hidden files", ""),
    (
        "members without content (links and devices)",
        "pack the files themselves, with tar --dereference --hard-dereference",
    ),
    (
        "further {noun}s of samples, as WebDataset splits names at the first dot",
        "pack them again with other signs for the other dots, if they are samples",
    ),
)
_HIDDEN_FILES, _WITHOUT_CONTENT, _DOTTED = range(len(_REASONS))

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShardIndex:
    """The samples of one shard, n of them.

    Attributes:
        offsets: int64 [n], where the members of their files start.
        ranks: uint32 [n], see `user_files.rank`.
        labels: int32 [n], positions in `names`, -1 if a sample has no label.
        names: the different labels, as they are written.
        passed_over: int64 [3], how many members are not used for each reason in `_REASONS`.
        examples: [3], one such member for each reason, or nothing.
    """

    offsets: np.ndarray
    ranks: np.ndarray
    labels: np.ndarray
    names: np.ndarray
    passed_over: np.ndarray
    examples: np.ndarray

    def is_sound(self, size: int) -> bool:
        """Whether this can be the index of a shard of `size` bytes."""
        told = (self.offsets, np.int64), (self.ranks, np.uint32), (self.labels, np.int32), (self.passed_over, np.int64)
        names = self.names.tolist()
        return (
            all(array.ndim == 1 and array.dtype == dtype for array, dtype in told)
            and all(array.ndim == 1 and array.dtype.kind == "U" for array in (self.names, self.examples))
            and len(self.offsets) == len(self.ranks) == len(self.labels)
            and len(self.passed_over) == len(self.examples) == len(_REASONS)
            and bool((self.passed_over >= 0).all())
            and bool((np.diff(self.offsets, prepend=-1) > 0).all() and (self.offsets < size).all())
            and bool(((self.labels >= -1) & (self.labels < len(names))).all())
            and len(set(names)) == len(names)
            and all(map(_is_label, names))
        )


def index_shards(
    shards: Sequence[Path], suffixes: Collection[str], noun: str, group: Callable[..., Iterator[dict[str, Any]]]
) -> list[ShardIndex]:
    """The index of each shard, from the user's cache if it is there."""
    places = [_index_place(shard, suffixes) for shard in shards]
    indexes = [_read_index(place, shard.stat().st_size) for place, shard in zip(places, shards, strict=True)]
    if missing := indexes.count(None):
        logger.info("indexing %s, once, into %s", counted(missing, "shards"), cache_folder("shards"))
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
    return cache_folder("shards") / f"{digest(key)[:32]}.npz"


def _read_index(place: Path, size: int) -> ShardIndex | None:
    """The index of a shard of `size` bytes, None if it has to be made."""
    try:
        with open_regular(place) as file, np.load(file, allow_pickle=False) as stored:
            index = ShardIndex(**stored)
            return index if index.is_sound(size) else None
    except FileNotFoundError:
        return None
    except Exception as error:  # zipfile and numpy may raise almost any error at damage
        logger.info("%s is damaged and made again: %s", place, error)
        return None


def _make_index(
    shard: Path, suffixes: Collection[str], noun: str, group: Callable[..., Iterator[dict[str, Any]]]
) -> ShardIndex:
    offsets, ranks, labels = array("q"), array("q"), array("q")
    names: dict[str, int] = {}
    keys: set[str] = set()
    passed_over = _PassedOverMembers()
    lost = Counter[str]()
    for sample in _samples(shard, group, passed_over):
        key, label = sample["__key__"], sample.get(LABEL_SUFFIX[1:])
        if key in keys:
            raise DataError(
                f"{shown(shard)} has sample {key!r} twice: pack it again with a key for each sample, and the files of "
                "a sample one after the other"
            )
        keys.add(key)
        media = [member for suffix, member in sample.items() if f".{suffix}" in suffixes]
        dotted = [suffix for suffix in sample if "." in suffix and Path(suffix).suffix in suffixes]
        if not media and dotted:
            lost[sample[dotted[0]].name] = len(dotted)
            continue
        if len(media) != 1:
            wrong = f"{counted(len(media), f'{noun}s')}, not one" if media else f"no {noun}"
            raise DataError(
                f"{shown(shard)}: sample {key!r} has {wrong}: looked for {', '.join(sorted(suffixes))}; pack it again "
                "with one for each sample"
            )
        for suffix in dotted:
            passed_over.add(_DOTTED, sample[suffix].name)
        offsets.append(checked_member(shard, media[0]).offset)
        ranks.append(rank(f"{shard.name}/{key}"))
        labels.append(-1 if label is None else names.setdefault(label, len(names)))
    if lost:
        raise DataError(f"{shown(shard)}: {_lost(lost, noun)}")
    return ShardIndex(
        np.array(offsets, dtype=np.int64),
        np.array(ranks, dtype=np.uint32),
        np.array(labels, dtype=np.int32),
        np.array(list(names), dtype=np.str_),
        np.array(passed_over.counts, dtype=np.int64),
        np.array(passed_over.examples, dtype=np.str_),
    )


def _lost(names: Counter[str], noun: str) -> str:
    """Why samples have no file: names with further dots, from these names and how many files have each."""
    example = next(iter(names))
    folder, slash, name = example.rpartition("/")
    key, _, suffix = name.partition(".")
    return (
        f"{names.total()} {noun}s have further dots in their names, such as {example!r}: WebDataset splits "
        f"names at the first dot, so this is file {suffix!r} of sample {folder + slash + key!r}, which has "
        f"no {noun}; pack them again with other signs for these dots"
    )


class _PassedOverMembers:
    """Members of a shard that are not used, counted for each reason in `_REASONS`."""

    def __init__(self) -> None:
        self.counts = [0] * len(_REASONS)
        self.examples = [""] * len(_REASONS)

    def add(self, reason: int, name: str) -> None:
        self.counts[reason] += 1
        self.examples[reason] = self.examples[reason] or shown(name)[:_LONGEST_EXAMPLE]


def passed_over(indexes: Sequence[ShardIndex], noun: str) -> list[PassedOver]:
    """Add to a tally what lies in the shards and is not used."""
    found = []
    for number, (reason, way_out) in enumerate(_REASONS):
        examples = tuple(str(index.examples[number]) for index in indexes if index.passed_over[number])
        if examples:
            count = sum(int(index.passed_over[number]) for index in indexes)
            reason = reason.format(noun=noun)
            found.append(PassedOver(reason=reason, count=count, examples=examples[:3], way_out=way_out))
    return found


def _samples(
    shard: Path, group: Callable[..., Iterator[dict[str, Any]]], passed_over: _PassedOverMembers
) -> Iterator[Mapping[str, Any]]:
    try:
        yield from group(_members(shard, passed_over))
    except ValueError as error:  # the library's "NAME: duplicate file name in tar file ..."
        name = str(error.args[0]).partition(": duplicate")[0]
        raise DataError(f"{shown(shard)} has a file twice: {name!r}; pack it again with one of them") from error


def _members(shard: Path, passed_over: _PassedOverMembers) -> Iterator[dict[str, Any]]:
    """The files of a shard as the library takes them; instead of its content each has its member, or its label."""
    with open_tar(shard) as tar:
        for member in members(tar):
            if member.isdir() or _METADATA.match(member.name):
                continue
            if member.name.startswith("/") or ".." in member.name.split("/"):
                raise DataError(
                    f"{shown(shard)}: member {member.name!r} names a place outside of the shard: pack it again with "
                    "names below its folder"
                )
            if _HIDDEN.search(member.name):
                passed_over.add(_HIDDEN_FILES, member.name)
            elif not member.isreg():
                passed_over.add(_WITHOUT_CONTENT, member.name)
            else:
                value = _label(shard, tar, member) if member.name.lower().endswith(LABEL_SUFFIX) else member
                yield {"fname": member.name, "data": value, "__url__": str(shard)}
        # tarfile takes anything that is not a header for the end.
        if tar.fileobj is not None:
            tar.fileobj.seek(tar.offset)
            rest = tar.fileobj.read(_TAIL)
            if len(rest) < tarfile.BLOCKSIZE or rest.strip(b"\0"):
                raise DataError(f"{shown(shard)} is truncated or damaged at byte {tar.offset}: {REPLACE}")


def _label(shard: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    label = content(tar, checked_member(shard, member, _LARGEST_LABEL)).decode("utf-8", "replace").strip()
    if not _is_label(label):
        raise DataError(
            f"{shown(shard)}: member {member.name!r} is not a label: it holds {label[:40]!r}, not the name or number "
            "of a class; write one there, or leave the file out"
        )
    return str(int(label)) if WHOLE_NUMBER.fullmatch(label) else label


def _is_label(text: str) -> bool:
    return bool(text) and text.isprintable()


def checked_member(shard: Path, member: tarfile.TarInfo, largest: int | None = None) -> tarfile.TarInfo:
    """The member, unless it is too large to be read as a whole."""
    largest = _LARGEST_FILE if largest is None else largest
    if member.size > largest:
        raise DataError(
            f"{shown(shard)}: member {member.name!r} has {member.size} bytes, more than the {largest} it may have"
        )
    return member
