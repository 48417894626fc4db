"""A user's file as samples, for any modality."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from torch import Tensor

from anytime_core.data.reading import require_regular_file
from anytime_core.display import shown
from anytime_core.errors import DataError
from anytime_core.modality import Modality, OpensFiles, UserFile


def open_file(modality: Modality, path: Path, *, opened: Callable[[Path], UserFile] | None = None) -> UserFile:
    """The samples of a file, as many as the modality finds in it.

    Args:
        modality: the modality of the file.
        path: path of the file.
        opened: opens it in another way than the modality's usual one.

    Raises:
        DataError: the file, which the message names, is missing or cannot be read.
    """
    try:
        require_regular_file(path)
    except OSError as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise DataError(f"{shown(path)} {reason}") from error
    if opened is not None:
        return opened(path)
    return modality.open_file(path) if isinstance(modality, OpensFiles) else _SampleFile(modality, path)


class _SampleFile:
    """A file of a modality whose files hold one sample each."""

    def __init__(self, modality: Modality, path: Path) -> None:
        self.modality, self.x = modality, modality.read(path)

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Tensor]:
        yield self.x

    def write(self, x: Iterable[Tensor], path: Path) -> None:
        for sample in x:
            self.modality.write(sample, path)
