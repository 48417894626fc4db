"""Where the files of samples go: one by one into a folder, or packed into tar shards; for arrays see `arrays.py`."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from anytime_core.errors import UsageError
from anytime_core.modality import Modality, ShowsGrowth
from anytime_core.sampling.samples import Sample

SAMPLES_PER_TAR = 10_000
ARRAYS_SUFFIX = ".npz"
_GROWTH = "growth"
"""A folder for pictures of growth, until it is known which files were written."""


class Output(Protocol):
    """Takes samples one by one, in the order of the job."""

    def add(self, sample: Sample) -> str:
        """Write a sample; return the name of its file in `samples.json`."""
        ...

    def add_growth(self, index: int, steps: dict[int, Tensor]) -> None:
        """Write a sample as it looks after each number of codes."""
        ...

    def written(self) -> dict[str, int]:
        """Files, with their sizes in bytes, that hold what was added since the last call."""
        ...

    def holds(self, files: Mapping[str, int]) -> bool:
        """Whether files are there with the sizes that `written` returned."""
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


class FolderOutput:
    """One file a sample, named by its global index.

    Args:
        modality: it writes them.
        folder: where the files go.
        suffix: of the files.
    """

    def __init__(self, modality: Modality, folder: Path, suffix: str) -> None:
        self.modality, self.folder, self.suffix = modality, folder, suffix
        self._written: dict[str, int] = {}

    def add(self, sample: Sample) -> str:
        """See `Output`."""
        name = f"{sample.index:06d}{self.suffix}"
        self.modality.write(sample.x, self.folder / name)
        self._written[name] = (self.folder / name).stat().st_size
        return name

    def add_growth(self, index: int, steps: dict[int, Tensor]) -> None:
        """See `Output`; a modality may show growth in files of its own too."""
        growth = self.folder / _GROWTH
        growth.mkdir(exist_ok=True)
        for codes, x in steps.items():
            self.modality.write(x, growth / f"{index:06d}-{codes}codes{self.suffix}")
        if isinstance(self.modality, ShowsGrowth):
            self.modality.write_growth(list(steps.values()), growth / f"{index:06d}")
        for path in sorted(growth.iterdir()):
            self._written[path.name] = path.stat().st_size
            path.rename(self.folder / path.name)

    def written(self) -> dict[str, int]:
        """See `Output`."""
        written, self._written = self._written, {}
        return written

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
        path = self.folder / f"sample{self.suffix}"
        self.modality.write(x, path)
        path.unlink()

    def finish(self) -> None:
        """Nothing: each file is whole."""

    def close(self) -> None:
        """Leave only samples."""
        shutil.rmtree(self.folder / _GROWTH, ignore_errors=True)


class TarOutput:
    """Tar shards as WebDataset reads them: the files of a sample share its key, and follow each other.

    A sample has its own file, `.json` with index, label and number of codes, and `.cls` with the label's number. Times
    and owners are left out, so that the same samples give the same shards.

    Args:
        modality: it writes the samples.
        folder: where the shards go.
        suffix: of the samples' files.
        part: `i/n` if this job is part i of n; each part names its shards differently.
    """

    def __init__(self, modality: Modality, folder: Path, suffix: str, part: str | None = None) -> None:
        self.modality, self.folder, self.suffix = modality, folder, suffix
        self._prefix = "samples-" if part is None else f"samples-{part.replace('/', 'of')}-"
        self._number, self._inside = 0, 0
        self._tar: tarfile.TarFile | None = None
        self._file: io.BufferedRandom | None = None

    def add(self, sample: Sample) -> str:
        """See `Output`."""
        if self._inside == SAMPLES_PER_TAR:
            self.close()
            self._number, self._inside = self._number + 1, 0
        key = f"{sample.index:09d}"
        about = json.dumps({"index": sample.index, "label": sample.label, "codes": sample.length})
        self._append(f"{key}{self.suffix}", self._encoded(sample.x))
        self._append(f"{key}.json", about.encode())
        if sample.label is not None:
            self._append(f"{key}.cls", str(sample.label).encode())
        self._inside += 1
        return f"{self._path().name}/{key}{self.suffix}"

    def add_growth(self, index: int, steps: dict[int, Tensor]) -> None:
        """See `Output`."""
        for codes, x in steps.items():
            self._append(f"{index:09d}.{codes}codes{self.suffix}", self._encoded(x))

    def written(self) -> dict[str, int]:
        """See `Output`: the shard, which must be at least as long as it is now."""
        return {self._path().name: self._file.tell() if self._file else 0}

    def holds(self, files: Mapping[str, int]) -> bool:
        """See `Output`."""
        return all(size_of(self.folder / name) >= size > 0 for name, size in files.items())

    def state(self) -> dict[str, int]:
        """See `Output`."""
        if self._file is not None:
            self._file.flush()
        return {"number": self._number, "inside": self._inside, "end": self._file.tell() if self._file else 0}

    def restore(self, state: dict[str, int] | None) -> None:
        """See `Output`."""
        if state is None:
            return
        self._number, self._inside = state["number"], state["inside"]
        for path in self.folder.glob(f"{self._prefix}*.tar"):
            if path.name > self._path().name:
                path.unlink()
        if state["end"]:
            self._open("r+b", state["end"])

    def try_out(self, x: Tensor) -> None:
        """See `Output`."""
        self._encoded(x)

    def finish(self) -> None:
        """See `Output`."""
        self.close()

    def close(self) -> None:
        """See `Output`."""
        if self._tar is not None and self._file is not None:
            self._tar.close()
            self._file.close()
        self._tar = self._file = None

    def _path(self) -> Path:
        return self.folder / f"{self._prefix}{self._number:06d}.tar"

    def _open(self, mode: str, end: int = 0) -> tarfile.TarFile:
        file = self._path().open(mode)
        file.truncate(end)
        file.seek(end)
        self._file = file  # type: ignore[assignment]  # it is a BufferedRandom, as both modes are for updating
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT)  # noqa: SIM115, open between samples
        return self._tar

    def _append(self, name: str, content: bytes) -> None:
        tar = self._tar or self._open("w+b")
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))

    def _encoded(self, x: Tensor) -> bytes:
        path = self.folder / f"sample{self.suffix}"
        self.modality.write(x, path)
        content = path.read_bytes()
        path.unlink()
        return content


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
