"""Samples as arrays: one file that numpy reads without pickle, in memory that does not grow with their number.

n is the number of samples, N the most codes that one has.
"""

from __future__ import annotations

import itertools
import os
import shutil
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from torch import Tensor

from anytime_core.jobs.output import ARRAYS_SUFFIX, Added, size_of
from anytime_core.sampling.samples import Sample, Samples

GROWTH_STEPS = 5

_ROWS = ".rows"
_AT_ONCE = 2**20  # bytes
_NAMES = ("samples", "indices", "lengths", "codes", "labels", "growth", "growth_lengths")
ROW_FILES = tuple(f"{name}{_ROWS}" for name in _NAMES)
"""What holds the rows of each array until all are there."""


class ArrayRow(NamedTuple):
    """A sample, and in a progressive job what it is after each number of codes."""

    sample: Sample
    steps: Mapping[int, Tensor]


class ArrayOutput:
    """One file `samples.npz` of arrays, in the order of the job.

    `samples` float32 [n, *sample_shape] in [-1, 1], `indices` int64 [n], `codes` uint16 or uint32 [n, N], zero after a
    sample's last code, and `lengths` int64 [n], how many it has. If the prior knows classes, `labels` int64 [n] and
    `classes`, their names. In a progressive job also `growth` float32 [n, 5, *sample_shape], each sample from ever more
    codes, and `growth_lengths` int64 [n, 5], how many at most.

    Args:
        folder: where the file goes.
        shape: of a sample.
        code_length: N.
        codebook_size: K.
        classes: names of the labels; empty if there are none.
        progressive: keep growth too.
        part: `i/n` if this job is part i of n; each part names its file differently.
    """

    parallel = False

    def __init__(
        self,
        folder: Path,
        shape: Sequence[int],
        *,
        code_length: int,
        codebook_size: int,
        classes: Sequence[str],
        progressive: bool,
        part: str | None = None,
    ) -> None:
        self.folder, self.classes, self.progressive = folder, tuple(classes), progressive
        self._path = folder / f"samples{'' if part is None else '-' + part.replace('/', 'of')}{ARRAYS_SUFFIX}"
        index, count, value = np.dtype("<i8"), np.dtype("<i8"), np.dtype("<f4")
        code = np.dtype("<u2" if codebook_size <= 2**16 else "<u4")
        self._forms: dict[str, tuple[np.dtype, tuple[int, ...]]] = {
            "samples": (value, tuple(shape)),
            "indices": (index, ()),
            "lengths": (count, ()),
            "codes": (code, (code_length,)),
        }
        if classes:
            self._forms["labels"] = index, ()
        if progressive:
            self._forms["growth"] = value, (GROWTH_STEPS, *shape)
            self._forms["growth_lengths"] = count, (GROWTH_STEPS,)
        self._rows = self._restored = 0
        self._files: dict[str, IO[bytes]] = {}

    def prepare(self, samples: Samples, grown: Mapping[int, Tensor]) -> list[ArrayRow]:
        """See `Output`: nothing has to be done."""
        rows = zip(*grown.values(), strict=True) if grown else itertools.repeat(())
        return [
            ArrayRow(sample, dict(zip(grown, steps, strict=True))) for sample, steps in zip(samples, rows, strict=False)
        ]

    def add(self, prepared: ArrayRow) -> Added:
        """See `Output`: the file and the row, and how many bytes of rows there must be at least."""
        sample = prepared.sample
        codes = np.zeros(self._forms["codes"][1], np.int64)
        codes[: sample.length] = sample.codes[: sample.length].numpy()
        self._append("samples", sample.x.numpy())
        self._append("indices", sample.index)
        self._append("lengths", sample.length)
        self._append("codes", codes)
        if self.classes:
            self._append("labels", sample.label)
        if self.progressive:
            self._append_growth(prepared.steps)
        self._rows += 1
        name = f"{self._path.name}/{self._rows - 1}"
        return Added(name, {f"{form}{_ROWS}": self._rows * self._row_bytes(form) for form in self._forms})

    def _append_growth(self, steps: Mapping[int, Tensor]) -> None:
        """Growth of a sample; the last step is repeated if there are fewer than five."""
        lengths = [*steps, *[max(steps)] * (GROWTH_STEPS - len(steps))]
        self._append("growth", np.stack([steps[length].numpy() for length in lengths]))
        self._append("growth_lengths", lengths)

    def try_out(self, x: Tensor) -> None:
        """See `Output`."""
        path = self.folder / f"sample{_ROWS}"
        path.write_bytes(x.numpy().astype("<f4").tobytes())
        path.unlink()

    def holds(self, files: Mapping[str, int]) -> bool:
        """See `Output`."""
        return all(size_of(self.folder / name) >= size > 0 for name, size in files.items())

    def state(self) -> dict[str, int]:
        """See `Output`."""
        for file in self._files.values():
            file.flush()
        return {"number": 0, "inside": self._rows, "end": 0}

    def restore(self, state: dict[str, int] | None) -> None:
        """See `Output`."""
        self._rows = self._restored = 0 if state is None else state["inside"]

    def finish(self) -> None:
        """See `Output`: the rows become one file; they stay until nothing needs to go on from them."""
        self.close()
        with zipfile.ZipFile(self._path, "w", zipfile.ZIP_STORED) as archive:
            for name, (dtype, shape) in self._forms.items():
                header = {"descr": dtype.str, "fortran_order": False, "shape": (self._rows, *shape)}
                with self._member(archive, name) as member:
                    np.lib.format.write_array_header_1_0(member, header)
                    if self._rows:
                        self._copy(name, member)
            if self.classes:
                with self._member(archive, "classes") as member:
                    np.lib.format.write_array(member, np.array(self.classes, np.str_), allow_pickle=False)

    def close(self) -> None:
        """See `Output`."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _copy(self, name: str, member: IO[bytes]) -> None:
        path = self.folder / f"{name}{_ROWS}"
        os.truncate(path, self._rows * self._row_bytes(name))
        with path.open("rb") as rows:
            shutil.copyfileobj(rows, member, _AT_ONCE)

    def _member(self, archive: zipfile.ZipFile, name: str) -> IO[bytes]:
        """The entry of an array in the archive, with a fixed time, so that equal arrays give equal files."""
        member = zipfile.ZipInfo(f"{name}.npy")
        member.external_attr = 0o600 << 16
        return archive.open(member, "w", force_zip64=True)

    def _append(self, name: str, row: object) -> None:
        dtype, shape = self._forms[name]
        if name not in self._files:
            file = (self.folder / f"{name}{_ROWS}").open("r+b" if self._restored else "w+b")
            file.truncate(self._restored * self._row_bytes(name))
            file.seek(0, os.SEEK_END)
            self._files[name] = file
        self._files[name].write(np.asarray(row).astype(dtype).reshape(shape).tobytes())

    def _row_bytes(self, name: str) -> int:
        dtype, shape = self._forms[name]
        return dtype.itemsize * int(np.prod(shape))
