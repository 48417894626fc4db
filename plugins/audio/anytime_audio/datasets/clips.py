"""Clips that are decoded once and kept: a memory-mapped cache whose name follows from files and options.

A cache is a folder of `clips.int16`, [n, L] little-endian, and `index.json`. The index holds the file that each clip
comes from, how many files could not be used and why for the first ones, what is odd about others, by how much all were
trimmed, cut and padded, and the checksum. n is the number of clips, L that of their audio samples.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from anytime_audio.datasets.files import ClipForm, PreparedSound, prepare
from anytime_audio.datasets.fitting import NUMBERS, Fitting
from anytime_audio.datasets.reading import REMARKS, Remark
from anytime_core.damaged import Damaged
from anytime_core.data.files import filling, remove_partial_files, write_json
from anytime_core.data.locations import user_path
from anytime_core.data.reading import read_limited
from anytime_core.data.shards import ShardFile
from anytime_core.data.user_files import LabelledFiles
from anytime_core.digest import digest
from anytime_core.display import counted, shown
from anytime_core.errors import DataError, system_reason
from anytime_core.found import PassedOver

_FORMAT = 3
_CLIPS, _INDEX = "clips.int16", "index.json"
_AHEAD = 4  # files for each core that are decoded before they are needed
_HELD = 2**22  # audio samples of a file's clips that may be held; a longer file is decoded when it is needed
_INDEX_LIMIT = 2**30  # a line for each clip

logger = logging.getLogger(__name__)


class Clips:
    """Clips int16 [n, L], in memory or memory-mapped, and, if known, their labels int64 [n].

    Attributes:
        notes: what is odd about the files that they come from.
        passed_over: files that cannot be used.
        fitting: what was done to the others, see `Fitting.numbers`.
    """

    FULL_SCALE: ClassVar[int] = 2**15 - 1

    def __init__(
        self,
        clips: np.ndarray,
        labels: Tensor | None,
        notes: tuple[str, ...] = (),
        passed_over: tuple[PassedOver, ...] = (),
        fitting: Sequence[float] = (0.0,) * NUMBERS,
    ) -> None:
        self.clips, self.labels, self.notes, self.passed_over = clips, labels, notes, passed_over
        self.fitting = fitting

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
    """The clips of `source`, from the cache in `folder` if they are there, else decoded and put there.

    Another process that needs the same cache waits for this one. Files that cannot be used are left out and listed in
    `passed_over`.

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
    count, examples = index["left_out"], tuple(index["examples"])
    passed_over: tuple[PassedOver, ...] = ()
    if count:
        passed_over = (PassedOver(reason="sounds that cannot be used", count=count, examples=examples),)
    clips = np.memmap(place / _CLIPS, np.dtype("<i2"), "r", shape=(len(index["file"]), form.length))
    labels = None if source.labels is None else torch.tensor([source.labels[file] for file in index["file"]])
    return Clips(clips, labels, tuple(index["notes"]), passed_over, index["fitting"])


def _digest(files: Sequence[Path | ShardFile], form: ClipForm) -> str:
    """A name that follows from files and options, by way of JSON that is never whole in memory."""
    head = json.dumps({"format": _FORMAT, **asdict(form), "files": []}).removesuffix("]}")
    signatures = (", " * bool(number) + json.dumps(_signature(file)) for number, file in enumerate(files))
    return digest(text.encode() for text in itertools.chain([head], signatures, ["]}"]))[:16]


def _signature(file: Path | ShardFile) -> tuple[str | int, ...]:
    """Values that change when a file does; a file that is gone is reported when it is read."""
    path, *place = (file.shard, file.offset) if isinstance(file, ShardFile) else (file,)
    try:
        status = path.stat()
    except OSError:
        return (str(path.absolute()), 0, 0, *place)
    return (str(path.absolute()), status.st_size, status.st_mtime_ns, *place)


def _read_index(place: Path, form: ClipForm, files: int) -> dict[str, Any] | None:
    """The contents of `index.json`; None if there is no complete cache."""
    if not place.exists():
        return None
    try:
        index = json.loads(read_limited(place / _INDEX, _INDEX_LIMIT))
        numbers = [*index["file"], index["left_out"]]
        if not all(isinstance(number, int) and 0 <= number <= files for number in numbers) or files in index["file"]:
            raise ValueError(f"there are {files} files")
        if not all(isinstance(text, str) for text in (*index["examples"], *index["notes"])):
            raise ValueError("sentences are text")
        if len(index["fitting"]) != NUMBERS or not all(0 <= float(number) < math.inf for number in index["fitting"]):
            raise ValueError("fitting is numbers")
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
    logger.info("decoding %s, once, into %s", counted(len(files), "sounds"), place)
    file_of_clip: list[int] = []
    damaged = Damaged("sounds")
    odd: dict[Remark, list[str]] = {}
    fitting = Fitting()
    # A fixed name, so that what a killed process left is overwritten.
    with filling(place, name="clips") as partial:
        remove_partial_files(partial)
        with (partial / _CLIPS).open("wb") as output:
            for number, decoded in enumerate(_decode(files, form)):
                try:
                    for clips in decoded.clips():
                        output.write(np.round(clips * Clips.FULL_SCALE).astype("<i2").tobytes())
                        file_of_clip += [number] * len(clips)
                    fitting.add(decoded.sound)
                except DataError as error:
                    damaged.add(number, str(error))
                for remark in decoded.remarks:
                    odd.setdefault(remark, []).append(shown(files[number]))
        sounds = counted(len(files), "sounds")
        if not file_of_clip:
            raise DataError(
                f"none of the {sounds} of a part can be used: {damaged.examples[0]}; "
                "without the damaged ones, others are trained on or held out"
            )
        index = {
            "file": file_of_clip,
            "left_out": damaged.count,
            "examples": damaged.examples,
            "notes": [
                f"{len(names):,} of {sounds} {REMARKS[remark][len(names) > 1]}, such as {names[0]}"
                for remark, names in odd.items()
            ],
            "fitting": fitting.numbers(),
            "checksum": _checksum(partial / _CLIPS, file_of_clip),
        }
        write_json(partial / _INDEX, index)
    return {**index, "examples": list(damaged.examples)}


class _Decoded:
    """A file that was decoded, or could not be. A file of many clips is decoded again when they are needed."""

    def __init__(self, path: Path | ShardFile, form: ClipForm) -> None:
        self.remarks: list[Remark] = []
        self._clips: list[np.ndarray] | None = None
        try:
            sound = prepare(path, form, self.remarks.append)
            if sound.length <= _HELD:
                self._clips = list(sound.clips())
            # Its sound is in the clips now, or is read again.
            self._sound: PreparedSound | DataError = replace(sound, sound=None) if self._clips else sound
        except DataError as error:
            self._sound = error
            self.remarks.clear()

    @property
    def sound(self) -> PreparedSound:
        """The prepared sound. Raises DataError if it cannot be used."""
        if isinstance(self._sound, DataError):
            raise self._sound
        return self._sound

    def clips(self) -> Iterator[np.ndarray]:
        """Clips, float32 [n, L], a few at a time. Raises DataError if there are none."""
        sound = self.sound
        yield from sound.clips() if self._clips is None else self._clips


def _decode(files: Sequence[Path | ShardFile], form: ClipForm) -> Iterator[_Decoded]:
    """Each file in order; they are decoded on all cores, a few ahead."""
    cores = os.cpu_count() or 1
    ahead: deque[Future[_Decoded]] = deque()
    with ThreadPoolExecutor(cores) as pool:
        for file in files:
            ahead.append(pool.submit(_Decoded, file, form))
            if len(ahead) > _AHEAD * cores:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
