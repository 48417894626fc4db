"""Clips that are decoded once and kept: a memory-mapped cache whose name follows from files and options.

A cache is a folder of `clips.int16`, [n, L] little-endian, and `index.json`: the file that each clip comes from, how
many files could not be used, and the checksum.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from anytime_audio.datasets.files import ClipForm, read_clips
from anytime_core.errors import DataError, system_reason
from anytime_core.files import filling, read_limited, remove_partial_files, write_json
from anytime_core.locations import user_path
from anytime_core.shards import ShardFile
from anytime_core.user_files import LabelledFiles

_FORMAT = 1
_CLIPS, _INDEX = "clips.int16", "index.json"
_NAMED_FILES = 20
_AT_ONCE = 512
_INDEX_LIMIT = 2**30  # a line for each clip

logger = logging.getLogger(__name__)


class Clips:
    """Clips int16 [n, L], in memory or memory-mapped, and where known their labels int64 [n]."""

    FULL_SCALE: ClassVar[int] = 2**15 - 1

    def __init__(self, clips: np.ndarray, labels: Tensor | None) -> None:
        self.clips, self.labels = clips, labels

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item: dict[str, Any] = {"x": self.batch([index])["x"][0]}
        return item if self.labels is None else {**item, "label": int(self.labels[index])}

    def batch(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Items `indices` as one batch."""
        x = torch.from_numpy(self.clips[np.asarray(indices)].astype(np.float32)).unsqueeze(1) / self.FULL_SCALE
        return {"x": x} if self.labels is None else {"x": x, "label": self.labels[torch.as_tensor(indices)]}


def cached_clips(source: LabelledFiles, form: ClipForm, folder: Path, name: str) -> Clips:
    """The clips of `source`, from the cache in `folder` where it is, else decoded and put there.

    Another process that needs the same cache waits for this one. Files that cannot be used are left out, counted, and
    the first of them named.

    Raises:
        DataError: no file can be used, or the cache cannot be written.
    """
    place = user_path(folder) / f"{name}-{_digest(source.files, form)}"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_suffix(".lock")):
            index = _read_index(place, form, len(source.files))
            if index is None:
                index = _build(source.files, form, place)
    except OSError as error:
        raise DataError(
            f"cannot keep clips in {place}: {system_reason(error)}; make room there, or set data.cache=DIR"
        ) from error
    if index["left_out"]:
        logger.warning("%d of %d sounds could not be used", index["left_out"], len(source.files))
    clips = np.memmap(place / _CLIPS, np.dtype("<i2"), "r", shape=(len(index["file"]), form.length))
    labels = None if source.labels is None else torch.tensor([source.labels[file] for file in index["file"]])
    return Clips(clips, labels)


def _digest(files: Sequence[Path | ShardFile], form: ClipForm) -> str:
    """A name for what clips are made of: files, as JSON that is never whole in memory, and options."""
    head = json.dumps({"format": _FORMAT, **asdict(form), "files": []}).removesuffix("]}")
    digest = hashlib.sha256(head.encode())
    for number, file in enumerate(files):
        digest.update((", " * bool(number) + json.dumps(_signature(file))).encode())
    digest.update(b"]}")
    return digest.hexdigest()[:16]


def _signature(file: Path | ShardFile) -> tuple[str | int, ...]:
    """What changes when a file does; a file that is gone is reported when it is read."""
    path, *place = (file.shard, file.offset) if isinstance(file, ShardFile) else (file,)
    try:
        status = path.stat()
    except OSError:
        return (str(path.absolute()), 0, 0, *place)
    return (str(path.absolute()), status.st_size, status.st_mtime_ns, *place)


def _read_index(place: Path, form: ClipForm, files: int) -> dict[str, Any] | None:
    """What `index.json` says, None where there is no whole cache."""
    if not place.exists():
        return None
    try:
        index = json.loads(read_limited(place / _INDEX, _INDEX_LIMIT))
        numbers = [*index["file"], index["left_out"]]
        if not all(isinstance(number, int) and 0 <= number <= files for number in numbers) or files in index["file"]:
            raise ValueError(f"there are {files} files")
        size = len(index["file"]) * form.length * 2
        if (place / _CLIPS).stat().st_size == size and _checksum(place / _CLIPS, index["file"]) == index["checksum"]:
            return index
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    logger.warning("the clips in %s are damaged; they are made again", place)
    return None


def _checksum(path: Path, file_of_clip: Sequence[int]) -> int:
    checksum = zlib.crc32(json.dumps(file_of_clip).encode())
    with path.open("rb") as file:
        while block := file.read(2**24):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _build(files: Sequence[Path | ShardFile], form: ClipForm, place: Path) -> dict[str, Any]:
    logger.info("decoding %d sounds, once, into %s", len(files), place)
    file_of_clip: list[int] = []
    left_out = 0
    # By a name, so that what a killed process left is written over, not left.
    with filling(place, name="clips") as partial:
        remove_partial_files(partial)
        with (partial / _CLIPS).open("wb") as output:
            for number, clips in enumerate(_decode(files, form)):
                if isinstance(clips, DataError):
                    left_out += 1
                    if left_out <= _NAMED_FILES:
                        logger.warning("%s; it is left out", clips)
                    continue
                output.write(np.round(clips * Clips.FULL_SCALE).astype("<i2").tobytes())
                file_of_clip += [number] * len(clips)
        if not file_of_clip:
            raise DataError(f"none of the {len(files)} sounds can be used, such as {files[0]}")
        index = {"file": file_of_clip, "left_out": left_out, "checksum": _checksum(partial / _CLIPS, file_of_clip)}
        write_json(partial / _INDEX, index)
    return index


def _decode(files: Sequence[Path | ShardFile], form: ClipForm) -> Iterator[np.ndarray | DataError]:
    """The clips of each file, or why there are none, in order; decoded on all cores, a bounded number ahead."""

    def decode(path: Path | ShardFile) -> np.ndarray | DataError:
        try:
            return read_clips(path, form)
        except DataError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(files), _AT_ONCE):
            yield from pool.map(decode, files[start : start + _AT_ONCE])
