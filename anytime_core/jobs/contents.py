"""Samples as the contents of files: in memory where the modality can, else by way of a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from torch import Tensor

from anytime_core.display import shown
from anytime_core.errors import PluginError
from anytime_core.modality import Modality, WritesInMemory

_BEING_MADE = "sample"


class Contents(Protocol):
    """Makes files of samples."""

    parallel: bool
    """Whether several threads may do this at a time."""

    def of(self, x: Tensor, names: Sequence[str]) -> list[bytes]:
        """The contents of files of these names, one for each sample of a batch."""
        ...

    def write(self, x: Tensor, names: Sequence[str]) -> list[int]:
        """Write such files; return their sizes in bytes."""
        ...


def contents_by(modality: Modality, folder: Path) -> Contents:
    """What makes files of a modality's samples in `folder`."""
    if isinstance(modality, WritesInMemory):
        return _InMemory(modality, modality.name, folder)
    return _ByFile(modality, folder)


def remove_unfinished(folder: Path, suffix: str) -> None:
    """Remove the file by way of which contents were being made when a process was killed."""
    (folder / f"{_BEING_MADE}{suffix}").unlink(missing_ok=True)


class _InMemory:
    parallel = True

    def __init__(self, modality: WritesInMemory, name: str, folder: Path) -> None:
        self.modality, self.name, self.folder = modality, name, os.fspath(folder)

    def of(self, x: Tensor, names: Sequence[str]) -> list[bytes]:
        contents = self.modality.contents(x, names)
        wanted = f"the bytes of {len(names)} files"
        if not isinstance(contents, list):
            raise self._breach(f"{type(contents).__name__} instead of a list with {wanted}")
        if len(contents) != len(names):
            raise self._breach(f"{len(contents)} contents instead of {wanted}")
        for name, content in zip(names, contents, strict=True):
            if not isinstance(content, bytes) or not content:
                raise self._breach(f"{shown(repr(content))[:60]} for {name} instead of its bytes")
        return contents

    def _breach(self, returned: str) -> PluginError:
        return PluginError(f"modality '{self.name}': contents returned {returned}")

    def write(self, x: Tensor, names: Sequence[str]) -> list[int]:
        contents = self.of(x, names)
        for name, content in zip(names, contents, strict=True):
            # Without a buffer, a disk that fills up would take a part of the content and say nothing.
            with open(f"{self.folder}/{name}", "wb") as file:
                file.write(content)
        return list(map(len, contents))


class _ByFile:
    parallel = False

    def __init__(self, modality: Modality, folder: Path) -> None:
        self.modality, self.folder = modality, folder

    def of(self, x: Tensor, names: Sequence[str]) -> list[bytes]:
        return [self._content(sample, name) for sample, name in zip(x, names, strict=True)]

    def write(self, x: Tensor, names: Sequence[str]) -> list[int]:
        return [self._written(sample, self.folder / name) for sample, name in zip(x, names, strict=True)]

    def _written(self, sample: Tensor, path: Path) -> int:
        self.modality.write(sample, path)
        return path.stat().st_size

    def _content(self, sample: Tensor, name: str) -> bytes:
        path = self.folder / f"{_BEING_MADE}{Path(name).suffix}"
        self.modality.write(sample, path)
        content = path.read_bytes()
        path.unlink()
        return content
