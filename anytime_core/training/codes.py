"""Files of codes, memory-mapped integers.

`codes/train.npy` and `codes/validation.npy` hold [samples, N] uint16 (uint32 where K needs it);
`codes/train-labels.npy` and `codes/validation-labels.npy` hold [samples] int64 where the data has labels.
"""

from __future__ import annotations

import os
import tokenize
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anytime_core.data.files import PARTIAL_PREFIX, open_own
from anytime_core.data.reading import open_regular
from anytime_core.display import shown
from anytime_core.errors import DataError, RunError
from anytime_core.spelling import argument

_CHECKED_ROWS = 2**16


class CodesDataset:
    """Code sequences of a run, memory-mapped: items `{"codes": [N] int64}` with `"label"` where known.

    Args:
        folder: of the files.
        part: `train` or `validation`.
        code_length: N that the codes must have; None: any.
        codebook_size: K that they must be below; None: any.
        classes: number of labels; None: any.

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
                f"{shown(path)} holds {self.codes.shape[1]} codes of each sample, not {code_length}; {_write_again()}"
            )
        if self.labels is not None and len(self.labels) != len(self.codes):
            raise RunError(
                f"{shown(labels)} holds {len(self.labels)} labels of {len(self.codes)} samples; {_write_again()}"
            )

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {key: value[0] for key, value in self.batch([index]).items()}

    def batch(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Items `indices` as one batch."""
        batch = {"codes": torch.from_numpy(self.codes[indices].astype(np.int64))}
        return batch if self.labels is None else {**batch, "label": torch.from_numpy(self.labels[indices])}


def _open(path: Path, *, ndim: int, below: int | None) -> np.ndarray:
    """The numbers in a file, memory-mapped, each of which must be at least 0 and `below` a number if that is given."""
    try:
        # Later versions, which codes never need, have headers of any length.
        with open_regular(path) as file:
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("it is of a version that codes are not written in")
        # Not np.load, which opens archives too. A header that is no Python may end in almost any error.
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


def _write_again() -> str:
    return f"write them again with {argument('stage', 'codes')} and {argument('force', True)}"


class CodesWriter:
    """Writes one part of a codes folder row by row, under temporary names until `finish`.

    Rows of samples that cannot be read are marked in a further temporary file, and left out in the end.

    Args:
        folder: made where it is missing.
        part: `train` or `validation`.
        rows: code sequences there will be.
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
        """Remove what there is, finished or not."""
        for name in self.names:
            for path in (self.folder / name, self._partial(name)):
                path.unlink(missing_ok=True)
        self._partial(self._unreadable_name).unlink(missing_ok=True)

    def holds(self, *, finished: bool) -> bool:
        """Whether files of this form are there to go on with, or, if `finished`, to be or already given their names."""
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
        """Rows from `first` on: codes [B, N], labels [B] where known, and whether each is of a sample, bool [B]."""
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
        """Bring what was written to the disk."""
        for rows in (self._codes, self._labels, self._unreadable):
            if rows is not None:
                rows.flush()

    def finish(self) -> None:
        """Give the files their names, codes last.

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
        """Make the files anew without the rows of samples that cannot be read, where there are such rows."""
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
    """A new file of rows, for all of which there is room: where a disk is full, writing to a map ends the process."""
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return rows
