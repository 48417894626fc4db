"""Pixels as picture files. Nothing here needs what reads files, which takes longer to import than to write some.

C is the number of channels (1 or 3), H and W are height and width in pixels.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

from PIL import Image
from torch import Tensor

from anytime_core.errors import DataError
from anytime_image.pixels import to_picture


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
