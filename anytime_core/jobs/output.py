"""Where the files of samples go: one by one into a folder; tar shards are in `tar_output.py`, arrays in `arrays.py`."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from torch import Tensor

from anytime_core.errors import UsageError
from anytime_core.jobs.contents import contents_by
from anytime_core.modality import Modality, ShowsGrowth
from anytime_core.sampling.samples import Samples

ARRAYS_SUFFIX = ".npz"
_GROWTH = "growth"
"""A folder for pictures of growth, until it is known which files were written."""

Prepared = TypeVar("Prepared")


class Added(NamedTuple):
    """A sample that has its place.

    Attributes:
        name: of its file in `samples.json`.
        files: files, with their sizes in bytes, that hold it.
    """

    name: str
    files: dict[str, int]


class Output(Protocol[Prepared]):
    """Takes samples, in the order of the job.

    Attributes:
        parallel: whether several threads may prepare samples at a time.
    """

    parallel: bool

    def prepare(self, samples: Samples, grown: Mapping[int, Tensor]) -> list[Prepared]:
        """What `add` takes of each of some samples.

        This is where the work is, and it may be done in any order.

        Args:
            samples: some samples.
            grown: in a progressive job, what they are after each number of codes, [B, *sample_shape].
        """
        ...

    def add(self, prepared: Prepared) -> Added:
        """Give the next sample of the job its place."""
        ...

    def holds(self, files: Mapping[str, int]) -> bool:
        """Whether files are there with the sizes that `add` returned."""
        ...

    def state(self) -> Any:
        """What `restore` needs to go on from here, as JSON; everything added is in the files by then."""
        ...

    def restore(self, state: Any) -> None:
        """Forget what was added after `state`; None: forget everything."""
        ...

    def try_out(self, x: Tensor) -> None:
        """Write a sample and remove it, to measure what writing costs; nothing was added yet."""
        ...

    def finish(self) -> None:
        """Complete the files; no sample follows."""
        ...

    def close(self) -> None:
        """Close the files, complete or not."""
        ...


class WrittenSample(NamedTuple):
    """A sample whose files are written.

    Attributes:
        number: its global index.
        file: name and size in bytes of its file.
        growth: of those that show it from fewer codes.
        steps: what these show, each [*sample_shape].
    """

    number: int
    file: dict[str, int]
    growth: dict[str, int]
    steps: Sequence[Tensor]


class FolderOutput:
    """One file a sample, named by its global index.

    Args:
        modality: it writes them.
        folder: where the files go.
        suffix: of the files.
    """

    def __init__(self, modality: Modality, folder: Path, suffix: str) -> None:
        self.modality, self.folder, self.suffix = modality, folder, suffix
        self._contents = contents_by(modality, folder)
        self.parallel = self._contents.parallel

    def prepare(self, samples: Samples, grown: Mapping[int, Tensor]) -> list[WrittenSample]:
        """See `Output`: the files are written."""
        names = [f"{index:06d}{self.suffix}" for index in samples.indices]
        own = [{name: size} for name, size in zip(names, self._contents.write(samples.x, names), strict=True)]
        growth: list[dict[str, int]] = [{} for _ in names]
        for codes, x in grown.items():
            others = [f"{index:06d}-{codes}codes{self.suffix}" for index in samples.indices]
            for row, size in enumerate(self._contents.write(x, others)):
                growth[row][others[row]] = size
        rows = zip(*grown.values(), strict=True) if grown else itertools.repeat(())
        return [WrittenSample(*columns) for columns in zip(samples.indices, own, growth, rows, strict=False)]

    def add(self, prepared: WrittenSample) -> Added:
        """See `Output`; a modality may show growth in files of its own too."""
        (name,), growth = prepared.file, prepared.growth
        if prepared.steps and isinstance(self.modality, ShowsGrowth):
            growth |= self._shown(self.modality, prepared.number, prepared.steps)
        return Added(name, {**prepared.file, **dict(sorted(growth.items()))})

    def _shown(self, modality: ShowsGrowth, index: int, steps: Sequence[Tensor]) -> dict[str, int]:
        """The files in which a modality shows growth, with their sizes in bytes."""
        growth = self.folder / _GROWTH
        growth.mkdir(exist_ok=True)
        modality.write_growth(steps, growth / f"{index:06d}")
        files = {}
        for path in growth.iterdir():
            files[path.name] = path.stat().st_size
            path.rename(self.folder / path.name)
        return files

    def holds(self, files: Mapping[str, int]) -> bool:
        """See `Output`."""
        return all(size_of(self.folder / name) == size > 0 for name, size in files.items())

    def state(self) -> None:
        """Nothing: samples that were added later are written again under the same names."""

    def restore(self, state: None) -> None:
        """Forget what was being shown of a sample."""
        shutil.rmtree(self.folder / _GROWTH, ignore_errors=True)

    def try_out(self, x: Tensor) -> None:
        """See `Output`."""
        name = f"sample{self.suffix}"
        self._contents.write(x[None], [name])
        (self.folder / name).unlink()

    def finish(self) -> None:
        """Nothing: each file is whole."""

    def close(self) -> None:
        """Leave only samples."""
        shutil.rmtree(self.folder / _GROWTH, ignore_errors=True)


def size_of(path: Path) -> int:
    """Size of a file in bytes, -1 if there is none; links are not followed."""
    try:
        status = os.lstat(path)
    except OSError:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def output_suffix(modality: Modality, suffix: str | None, *, arrays: bool = False) -> str:
    """`suffix` with its dot, or the modality's default if it is None.

    Args:
        modality: it writes the files.
        suffix: as a user writes it.
        arrays: allow the suffix of arrays too, which core writes.

    Raises:
        UsageError: files with this suffix cannot be written.
    """
    if suffix is None:
        return modality.suffixes[0]
    suffix = f".{suffix.lower().removeprefix('.')}"
    if suffix in modality.suffixes or (arrays and suffix == ARRAYS_SUFFIX):
        return suffix
    known = f"use {', '.join(modality.suffixes)}"
    if suffix == ARRAYS_SUFFIX:
        raise UsageError(f"reconstructions are files of the modality, not arrays: {known}, or run.encode in Python")
    raise UsageError(
        f"modality '{modality.name}' writes no {suffix} files: {known}" + (", or npz for arrays" if arrays else "")
    )
