"""Files of codes, as memory-mapped integers.

`codes/train.npy` and `codes/validation.npy` hold [samples, N] uint16 (uint32 if K needs it).
`codes/train-labels.npy` and `codes/validation-labels.npy` hold [samples] int64 if the data has labels.
"""

from __future__ import annotations

import os
import tokenize
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anytime_core.data.files import PARTIAL_PREFIX, open_own
from anytime_core.data.reading import open_regular
from anytime_core.digest import digest
from anytime_core.display import shown
from anytime_core.errors import DataError, RunError
from anytime_core.results import CodesFile
from anytime_core.spelling import argument

FILES = tuple(f"codes/{part}{rest}.npy" for part in ("train", "validation") for rest in ("", "-labels"))
"""All that a run may have, by their paths in the run folder."""

_CHECKED_ROWS = 2**16


class CodesDataset:
    """The code sequences of a run, memory-mapped: items `{"codes": [N] int64}` with `"label"` if known.

    Args:
        folder: the folder of the files.
        part: `train` or `validation`.
        code_length: the N that the codes must have; None: any.
        codebook_size: the K that the codes must be below; None: any.
        classes: the number of classes that labels must be below; None: any.

    Raises:
        RunError: the files are missing, damaged, or hold other codes.
    """

    def __init__(
        self,
        folder: Path,
        part: str,
        *,
        code_length: int | None = None,
        codebook_size: int | None = None,
        classes: int | None = None,
    ) -> None:
        path, labels = folder / f"{part}.npy", folder / f"{part}-labels.npy"
        self.codes = _open(path, ndim=2, below=codebook_size)
        self.labels = _open(labels, ndim=1, below=classes) if labels.exists() else None
        if code_length is not None and self.codes.shape[1] != code_length:
            raise RunError(
                f"{shown(path)} holds {self.codes.shape[1]} codes for each sample, not {code_length}; {_write_again()}"
            )
        if self.labels is not None and len(self.labels) != len(self.codes):
            raise RunError(
                f"{shown(labels)} holds {len(self.labels)} labels for {len(self.codes)} samples; {_write_again()}"
            )

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {key: value[0] for key, value in self.batch([index]).items()}

    def batch(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """The items `indices` as one batch."""
        batch = {"codes": torch.from_numpy(self.codes[indices].astype(np.int64))}
        return batch if self.labels is None else {**batch, "label": torch.from_numpy(self.labels[indices])}


def _open(path: Path, *, ndim: int, below: int | None) -> np.ndarray:
    """The numbers in a file, memory-mapped. They must be at least 0 and less than `below`, if that is given."""
    try:
        # Later versions of the format have headers of any length, and codes never need them.
        with open_regular(path) as file:
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("it is of a format version that codes never have")
        # Not np.load, which opens archives too. A header that is not Python may raise almost any error.
        array = np.lib.format.open_memmap(path, mode="r")
    except (
        OSError,
        ValueError,
        SyntaxError,
        LookupError,
        TypeError,
        ArithmeticError,
        RecursionError,
        MemoryError,
        tokenize.TokenError,
    ) as error:
        reason = getattr(error, "strerror", None) or error
        raise RunError(f"codes cannot be read from {shown(path)}: {reason}; {_write_again()}") from error
    if array.ndim != ndim or array.dtype.kind not in "iu" or 0 in array.shape:
        raise RunError(f"{shown(path)} holds no codes; {_write_again()}")
    for start in range(0, len(array), _CHECKED_ROWS):
        part = array[start : start + _CHECKED_ROWS]
        if below is not None and (part.min() < 0 or part.max() >= below):
            raise RunError(f"{shown(path)} holds numbers that are not in 0..{below - 1}; {_write_again()}")
    return array.astype(np.int64) if ndim == 1 else array


def written_files(folder: Path) -> dict[str, CodesFile]:
    """The files of codes and labels in a folder, each read once as a whole."""
    paths = [folder / Path(name).name for name in FILES]
    return {
        path.name: CodesFile(rows=len(np.load(path, mmap_mode="r", allow_pickle=False)), digest=digest(path))
        for path in paths
        if path.exists()
    }


def codes_digests(folder: Path, recorded: Mapping[str, CodesFile]) -> dict[str, str]:
    """The digest of each file, computed if an earlier version recorded none of them."""
    return {name: file.digest for name, file in (recorded or written_files(folder)).items()}


def check_files(folder: Path, recorded: Mapping[str, CodesFile]) -> None:
    """Raise RunError if a folder does not hold the files that stage `codes` wrote.

    Args:
        folder: the folder.
        recorded: what the run's record says of the files. Earlier versions recorded nothing; then labels of one part
            show that the other part had labels too.
    """
    names = [Path(name).name for name in FILES]
    labels = {name for name in names if name.endswith("-labels.npy")}
    present = {name for name in names if (folder / name).exists()}
    expected = set(recorded) or (present | labels if present & labels else present)
    for name in names:
        path = folder / name
        if name in expected - present:
            raise RunError(f"{shown(path)} is missing: {_write_again()}")
        if recorded and name in present and (name not in recorded or recorded[name].digest != digest(path)):
            raise RunError(f"{shown(path)} is not what the run's record tells of: {_write_again()}")


def _write_again() -> str:
    return f"write them again with {argument('stage', 'codes')} and {argument('force', True)}"


class CodesWriter:
    """Writes one part of a codes folder row by row, under temporary names until `finish`.

    Rows of samples that cannot be read are marked in another temporary file, and left out at the end.

    Args:
        folder: the folder, which is created if it is missing.
        part: `train` or `validation`.
        rows: the number of code sequences.
        code_length: N.
        codebook_size: K.
    """

    def __init__(self, folder: Path, part: str, rows: int, code_length: int, codebook_size: int) -> None:
        self.names = (f"{part}.npy", f"{part}-labels.npy")
        self._unreadable_name = f"{part}-unreadable.npy"
        self.folder, self.shape = folder, (rows, code_length)
        self.dtype = np.dtype(np.uint16 if codebook_size <= 2**16 else np.uint32)
        self._codes: np.memmap | None = None
        self._labels: np.memmap | None = None
        self._unreadable: np.memmap | None = None

    def discard(self) -> None:
        """Remove all files of this part, finished or not."""
        for name in self.names:
            for path in (self.folder / name, self._partial(name)):
                path.unlink(missing_ok=True)
        self._partial(self._unreadable_name).unlink(missing_ok=True)

    def holds(self, *, finished: bool) -> bool:
        """Whether unfinished files of this shape exist; with `finished`, they may already have their final names."""
        paths = [self._partial(self.names[0]), *([self.folder / self.names[0]] if finished else [])]
        for path in paths:
            try:
                array = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError, EOFError):
                continue
            if (array.shape, array.dtype) == (self.shape, self.dtype):
                return True
        return False

    def write(self, first: int, codes: np.ndarray, labels: np.ndarray | None, readable: np.ndarray) -> None:
        """Write rows from `first` on: codes [B, N], labels [B] if known, and which samples were readable, [B] bool."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._codes is None:
            self._codes = self._open(self.names[0], self.dtype, self.shape)
        self._codes[first : first + len(codes)] = codes
        if labels is not None:
            if self._labels is None:
                self._labels = self._open(self.names[1], np.dtype(np.int64), self.shape[:1])
            self._labels[first : first + len(labels)] = labels
        if not readable.all():
            if self._unreadable is None:
                self._unreadable = self._open(self._unreadable_name, np.dtype(bool), self.shape[:1])
            self._unreadable[first : first + len(readable)] = ~readable

    def flush(self) -> None:
        """Flush what was written to the disk."""
        for rows in (self._codes, self._labels, self._unreadable):
            if rows is not None:
                rows.flush()

    def finish(self) -> None:
        """Give the files their final names, the codes last.

        Raises:
            DataError: no sample could be read.
        """
        self.flush()
        self._codes = self._labels = self._unreadable = None
        self._leave_out()
        for name in reversed(self.names):
            if self._partial(name).exists():
                self._partial(name).replace(self.folder / name)
        self._partial(self._unreadable_name).unlink(missing_ok=True)

    def _leave_out(self) -> None:
        """Write the files again without the rows of samples that cannot be read, if there are any."""
        if not self._partial(self._unreadable_name).exists():
            return
        kept = np.flatnonzero(~np.load(self._partial(self._unreadable_name)))
        if not len(kept):
            raise DataError(f"none of the {self.shape[0]:,} samples of {self.names[0]} can be read")
        for name in self.names:
            if not self._partial(name).exists():
                continue
            rows = np.lib.format.open_memmap(self._partial(name), mode="r")
            shorter = self._partial(f"kept-{name}")
            whole = np.lib.format.open_memmap(shorter, mode="w+", dtype=rows.dtype, shape=(len(kept), *rows.shape[1:]))
            for start in range(0, len(kept), _CHECKED_ROWS):
                whole[start : start + _CHECKED_ROWS] = rows[kept[start : start + _CHECKED_ROWS]]
            whole.flush()
            del rows, whole
            shorter.replace(self._partial(name))

    def _partial(self, name: str) -> Path:
        return self.folder / f"{PARTIAL_PREFIX}{name}"

    def _open(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.memmap:
        path = self._partial(name)
        if os.path.lexists(path):
            open_own(path, "rb").close()
            return np.lib.format.open_memmap(path, mode="r+")
        try:
            return _allocated(path, dtype, shape)
        except OSError as error:
            path.unlink(missing_ok=True)
            error.filename = str(self.folder / name)
            raise


def _allocated(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.memmap:
    """A new file with room for all rows on the disk: writing to a map of a full disk would end the process."""
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return rows
