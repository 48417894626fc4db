"""Samples packed into tar shards."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NamedTuple

from torch import Tensor

from anytime_core.jobs.contents import contents_by, remove_unfinished
from anytime_core.jobs.output import Added, size_of
from anytime_core.modality import Modality
from anytime_core.sampling.samples import Samples

SAMPLES_PER_TAR = 10_000

_NAME, _SIZE, _SUM = slice(0, 100), slice(124, 136), slice(148, 156)
"""Where the name, the size and the checksum of a member stand in its header."""
_LONGEST_NAME, _LARGEST = 100, 8**11
_EMPTY = bytearray(tarfile.TarInfo().tobuf(tarfile.GNU_FORMAT))
_EMPTY[_SIZE], _EMPTY[_SUM] = bytes(12), b" " * 8
_EMPTY_SUM = sum(_EMPTY)


class PackedSample(NamedTuple):
    """The members of a sample in a shard.

    Attributes:
        name: of the first of them.
        members: all of them, with their headers.
    """

    name: str
    members: bytes


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
        self.folder, self.suffix = folder, suffix
        self._contents = contents_by(modality, folder)
        self.parallel = self._contents.parallel
        self._prefix = "samples-" if part is None else f"samples-{part.replace('/', 'of')}-"
        self._number, self._inside, self._end = 0, 0, 0
        self._file: IO[bytes] | None = None

    def prepare(self, samples: Samples, grown: Mapping[int, Tensor]) -> list[PackedSample]:
        """See `Output`."""
        keys = [f"{index:09d}" for index in samples.indices]
        own = self._members(samples.x, [f"{key}{self.suffix}" for key in keys])
        steps = [self._members(x, [f"{key}.{codes}codes{self.suffix}" for key in keys]) for codes, x in grown.items()]
        packed = []
        for row, (index, label, length) in enumerate(samples.described()):
            key = keys[row]
            about = json.dumps({"index": index, "label": label, "codes": length}).encode()
            parts = [own[row], member(f"{key}.json", about)]
            if label is not None:
                parts.append(member(f"{key}.cls", str(label).encode()))
            parts += [step[row] for step in steps]
            packed.append(PackedSample(f"{key}{self.suffix}", b"".join(parts)))
        return packed

    def add(self, prepared: PackedSample) -> Added:
        """See `Output`: the shard must be at least as long as it is now."""
        if self._inside == SAMPLES_PER_TAR:
            self.close()
            self._number, self._inside = self._number + 1, 0
        file = self._file or self._open("w+b")
        file.write(prepared.members)
        self._inside += 1
        self._end += len(prepared.members)
        shard = self._name()
        return Added(f"{shard}/{prepared.name}", {shard: self._end})

    def holds(self, files: Mapping[str, int]) -> bool:
        """See `Output`."""
        return all(size_of(self.folder / name) >= size > 0 for name, size in files.items())

    def state(self) -> dict[str, int]:
        """See `Output`."""
        if self._file is not None:
            self._file.flush()
        return {"number": self._number, "inside": self._inside, "end": self._end}

    def restore(self, state: dict[str, int] | None) -> None:
        """See `Output`."""
        remove_unfinished(self.folder, self.suffix)
        if state is None:
            return
        self._number, self._inside = state["number"], state["inside"]
        for path in self.folder.glob(f"{self._prefix}*.tar"):
            if path.name > self._name():
                path.unlink()
        if state["end"]:
            self._open("r+b", state["end"])

    def try_out(self, x: Tensor) -> None:
        """See `Output`."""
        self._contents.of(x[None], [f"sample{self.suffix}"])

    def finish(self) -> None:
        """See `Output`."""
        self.close()

    def close(self) -> None:
        """See `Output`."""
        if self._file is not None:
            file, self._file = self._file, None
            with file:
                ended = self._end + 2 * tarfile.BLOCKSIZE
                file.write(bytes(2 * tarfile.BLOCKSIZE + -ended % tarfile.RECORDSIZE))
        self._end = 0

    def _name(self) -> str:
        return f"{self._prefix}{self._number:06d}.tar"

    def _open(self, mode: str, end: int = 0) -> IO[bytes]:
        self._file = file = (self.folder / self._name()).open(mode)
        file.truncate(end)
        file.seek(end)
        self._end = end
        return file

    def _members(self, x: Tensor, names: list[str]) -> list[bytes]:
        contents = self._contents.of(x, names)
        return [member(name, content) for name, content in zip(names, contents, strict=True)]


def member(name: str, content: bytes) -> bytes:
    """A member of a tar file, as `tarfile` writes it in GNU's format without times and owners.

    `tarfile` takes ten times as long, which would be most of what a small sample takes.
    """
    encoded, size = name.encode(), len(content)
    if len(encoded) > _LONGEST_NAME or size >= _LARGEST:
        entry = tarfile.TarInfo(name)
        entry.size = size
        header = entry.tobuf(tarfile.GNU_FORMAT)
    else:
        octal = b"%011o\0" % size
        block = bytearray(_EMPTY)
        block[_NAME] = encoded.ljust(_LONGEST_NAME, b"\0")
        block[_SIZE] = octal
        block[_SUM] = b"%06o\0 " % (_EMPTY_SUM + sum(encoded) + sum(octal))
        header = bytes(block)
    return b"".join((header, content, bytes(-size % tarfile.BLOCKSIZE)))
