"""A user's picture as a square, and its reconstruction at the size of the picture."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image
from torch import Tensor

from anytime_core.errors import DataError
from anytime_image.fitting import placed
from anytime_image.pixels import to_float, to_picture, to_uint8
from anytime_image.reading import Rendering, read_image, shown_size


class Picture:
    """One file. `write` undoes what made it a square; around a cropped square it puts the background.

    Args:
        path: the file.
        shape: (C, H, W) of samples.
        rendering: how the file becomes one.

    Raises:
        DataError: the file cannot be read.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int], rendering: Rendering) -> None:
        self.x = to_float(read_image(path, shape, rendering))
        self.ground = rendering.ground(shape[0])
        self.placement = placed(shown_size(path), shape[1], rendering.fit)

    def __len__(self) -> int:
        """One sample."""
        return 1

    def __iter__(self) -> Iterator[Tensor]:
        yield self.x

    def write(self, x: Iterable[Tensor], path: Path) -> None:
        """Write the one sample [C, H, W] of `x`."""
        for sample in x:
            save(self.placement.restored(to_uint8(sample.detach().cpu()), self.ground), path)


def save(image: Tensor, path: Path) -> None:
    """Write uint8 [C, H, W] as a picture. Raises DataError if the format cannot hold one so large."""
    path.write_bytes(content(image, path.name))


def content(image: Tensor, name: str) -> bytes:
    """A file of that name which holds uint8 [C, H, W] as a picture. Raises DataError as `save` does."""
    file = io.BytesIO()
    try:
        to_picture(image).save(file, _format(name))
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        size = f"{image.shape[2]}x{image.shape[1]}"
        raise DataError(f"{name} of {size} cannot be written: {error}; choose another --format, such as png") from error
    return file.getvalue()


def _format(name: str) -> str:
    """Pillow's name for the format of a file. Raises ValueError if it has none."""
    suffix = os.path.splitext(name)[1].lower()
    Image.preinit()
    formats = Image.EXTENSION if suffix in Image.EXTENSION else Image.registered_extensions()
    if suffix not in formats:
        raise ValueError(f"unknown file extension: {suffix}")
    return formats[suffix]
