"""A user's own folder of files as training and validation data, for modalities whose samples lie in files.

Class folders become labels; folders named like splits are the splits.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from anytime_core.errors import DataError
from anytime_core.found import Found

if TYPE_CHECKING:
    from anytime_core.shards import ShardFile

VALIDATION_NAMES = ("test", "validation", "val", "valid")
"""What a user's data calls the part that is not trained on."""

_SPLITS = {"train": ("train", "training"), "validation": VALIDATION_NAMES}


@dataclass(frozen=True)
class LabelledFiles:
    """Files and, where known, the number of each one's class."""

    files: Sequence[Path | ShardFile]
    labels: list[int] | None = None


@dataclass(frozen=True)
class SplitFiles:
    """Disjoint training and validation files, the names of the labels 0, 1, ..., and what was found."""

    train: LabelledFiles
    validation: LabelledFiles
    classes: tuple[str, ...] = ()
    found: Found | None = None


@dataclass(frozen=True)
class _Tree:
    """Files of a folder with the class folder that each lies in, None where there are no class folders."""

    files: list[Path]
    classes: list[str] | None

    def labelled(self, classes: tuple[str, ...]) -> LabelledFiles:
        known = classes and self.classes is not None
        return LabelledFiles(self.files, [classes.index(name) for name in self.classes or ()] if known else None)


def split_folder(root: Path | None, suffixes: Collection[str], *, share: float, noun: str) -> SplitFiles:
    """All files below `root` with one of `suffixes`, split for training and validation.

    Folders named train and test (or validation) directly below are the two parts; otherwise `share` of the files is
    held out. Folders directly below a part are its classes if every file lies in one and there are two or more.

    Args:
        root: the config's `data.root`; None is the mistake of not setting it.
        suffixes: lower-case, such as `.png`.
        share: of the files, for validation.
        noun: what one file is, for messages.

    Raises:
        DataError: no root, no folder, no files, or only one.
    """
    if root is None:
        raise DataError(f"data.name=folder needs data.root=DIR, the folder that holds the {noun}s")
    root = root.expanduser()
    if not root.is_dir():
        raise DataError(f"data.root={root} is not a folder")
    parts = {
        part: next((root / name for name in names if (root / name).is_dir()), None) for part, names in _SPLITS.items()
    }
    named_train, named_validation = parts["train"], parts["validation"]
    if named_train and named_validation:
        train, validation = _scan(named_train, suffixes, noun), _scan(named_validation, suffixes, noun)
    else:
        alone = named_train if [path for path in root.iterdir() if path.is_dir()] == [named_train] else None
        train, validation = _split(_scan(alone or root, suffixes, noun), share, noun)
    classes: tuple[str, ...] = ()
    if train.classes is not None and validation.classes is not None:
        classes = tuple(sorted({*train.classes, *validation.classes}))
    if len(classes) < 2:
        classes = ()
    return SplitFiles(train.labelled(classes), validation.labelled(classes), classes)


def hold_out(files: list[Path], share: float, noun: str) -> tuple[list[int], list[int]]:
    """Indices of the training and of the validation files, both of at least one.

    A file's part follows from its name and its folder's, so adding files moves none of the others.

    Raises:
        DataError: there is only one file.
    """
    if len(files) < 2:
        raise DataError(f"{files[0]} is the only {noun}: at least 2 are needed, one of them for validation")
    held = held_out(np.array([rank("/".join(path.parts[-2:])) for path in files]), share)
    return np.flatnonzero(~held).tolist(), np.flatnonzero(held).tolist()


def rank(name: str) -> int:
    """A number below 2**32 that follows from the name of a sample, for `held_out`."""
    return zlib.crc32(name.encode(errors="surrogateescape"))


def held_out(ranks: np.ndarray, share: float) -> np.ndarray:
    """Which of the samples with these ranks are for validation, bool [n]: about `share`, at least one and not all."""
    held = ranks < share * 2**32
    if held.all() or not held.any():
        held = np.arange(len(ranks)) == ranks.argmin()
    return held


def _scan(root: Path, suffixes: Collection[str], noun: str) -> _Tree:
    """All files below `root`; folders directly below it are its classes if every file lies in one."""
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    if not files:
        raise DataError(f"no {noun}s in {root}: looked for {', '.join(sorted(suffixes))} in it and below")
    parents = [path.relative_to(root).parts[:-1] for path in files]
    return _Tree(files, [parts[0] for parts in parents] if all(parents) else None)


def _split(tree: _Tree, share: float, noun: str) -> tuple[_Tree, _Tree]:
    def part(indices: list[int]) -> _Tree:
        classes = None if tree.classes is None else [tree.classes[index] for index in indices]
        return _Tree([tree.files[index] for index in indices], classes)

    train, validation = hold_out(tree.files, share, noun)
    return part(train), part(validation)
