"""A picture file as pixels: whatever its mode, depth and size, it becomes uint8 grey or RGB of one shape.

C is the number of channels, H and W are height and width in pixels.
"""

from __future__ import annotations

import ctypes
import math
import re
import struct
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError, _imaging, features
from torch import Tensor

from anytime_core.data.reading import require_regular_file
from anytime_core.data.shards import ShardFile
from anytime_core.errors import DataError
from anytime_image.config import Fit
from anytime_image.fitting import Placement, placed
from anytime_image.pixels import from_picture

_AVIF = features.check("avif")

IMAGE_SUFFIXES = frozenset(
    {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff"}
    | {".ppm", ".pgm", ".pbm", ".pnm", ".pfm"}
    | ({".avif"} if _AVIF else set())
)
_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", *(("AVIF",) if _AVIF else ()))
"""Pillow's formats for these suffixes. It goes by content and would read others too, EPS by running another program."""

_SAVE_AS = "save them as PNG or JPEG"
UNREAD_SUFFIXES: Mapping[str, str] = {
    **dict.fromkeys((".heic", ".heif", ".hif", ".jxl", ".jp2", ".j2k", ".jpx", ".tga", ".ico", ".psd"), _SAVE_AS),
    **dict.fromkeys((".svg", ".eps", ".pdf"), "draw them as PNG, at the size that is wanted"),
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2"), "develop them as TIFF or JPEG"),
    **dict.fromkeys((".exr", ".hdr", ".dcm"), "save them as TIFF"),
    **({} if _AVIF else {".avif": "install Pillow 11.3 or newer"}),
}
"""Suffixes of pictures that are not read -> what to do with them."""

# Decoders raise all of these at damage.
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    struct.error,
    ImageCms.PyCMSError,
)
_WITH_FRAMES = ("GIF", "WEBP", "PNG", "TIFF", "AVIF")
"""Formats of animations and pages; a second picture in a JPEG was added by the camera."""
_BITS_PER_SAMPLE = 258  # a tag of TIFF
_LARGE_PIXELS = 2**24  # beyond a telephone's photographs
_STRIP_PIXELS = 2**22
_ROUNDING = 1.01  # resampling and rounding may exceed white by this factor

# Pillow raises what libtiff reports as an exception; libtiff also writes it to the terminal.
with suppress(OSError, AttributeError, TypeError):  # libtiff may be linked in another way
    ctypes.CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


@dataclass(frozen=True)
class Rendering:
    """How a picture looks where its file leaves it open.

    Attributes:
        background: red, green and blue, 0..255, behind transparent pixels and in margins.
        white: value of white in greys of 16 and 32 bits; None: the full scale of the fewest bits that hold the picture.
        float_white: the same for floating-point greys.
        fit: how it becomes a square.
    """

    background: tuple[int, int, int] = (255, 255, 255)
    white: float | None = None
    float_white: float | None = None
    fit: Fit = "crop"

    def ground(self, channels: int) -> Tensor:
        """The background as uint8 [channels, 1, 1]."""
        return from_picture(Image.new("RGB", (1, 1), self.background).convert("L" if channels == 1 else "RGB"))


UNSAID = Rendering()
"""The default."""


@dataclass(frozen=True)
class Description:
    """Properties of a picture file before it is brought to the configured shape.

    Attributes:
        size: width and height.
        frames: number of pictures of an animation, or of pages; 1 for a single picture.
        kind: `integer` or `float` if greys do not say what white is; None for all others.
        smallest, largest: values of such greys; 0 for all others.
    """

    size: tuple[int, int]
    frames: int
    kind: str | None = None
    smallest: float = 0.0
    largest: float = 0.0


def read_image(
    path: Path | ShardFile, shape: tuple[int, int, int], rendering: Rendering = UNSAID, frame: int = 0
) -> Tensor:
    """A file as uint8 [C, H, W]: any mode becomes grey or RGB, any shape the square that `rendering.fit` makes of it.

    Beyond 2^24 pixels, no more is held than the decoder needs: formats that allow it are decoded at a smaller size.

    Args:
        path: the file.
        shape: (C, H, W).
        rendering: ground, white and fit.
        frame: which picture of an animation or of many pages.

    Raises:
        DataError: the file is missing, not an image, truncated, holds NaN or infinite values, or is so large that it
            may be an attack.
    """
    grey, side = shape[0] == 1, max(shape[1:])
    with _opened(path) as image:
        if frame:
            image.seek(frame)
        if math.prod(image.size) > _LARGE_PIXELS:
            image.draft(None, (2 * side, 2 * side))
        white = _white(image, rendering, path)
        ImageOps.exif_transpose(image, in_place=True)
        placement = placed(image.size, side, rendering.fit)
        if math.prod(image.size) > _LARGE_PIXELS:
            seen = from_picture(_reduced(image, placement, grey, white, rendering.background))
        else:
            # Crop first: a long picture resized by its shorter side would still be long.
            seen = placement.seen.cut(from_picture(_flat(image, grey, white, rendering.background)))
    return placement.fitted(seen, rendering.ground(shape[0]))


def shown_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture as it is shown, turned as its camera says. Raises DataError as `read_image`."""
    with _opened(path) as image:
        turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        return image.size[::-1] if turned else image.size


def describe(path: Path | ShardFile, *, count_frames: bool) -> Description:
    """The properties of a file; it is only decoded if its greys do not say what white is.

    Args:
        path: the file.
        count_frames: count the frames; else 2 stands for more than one.

    Raises:
        DataError: as `read_image`.
    """
    with _opened(path) as image:
        size, frames = image.size, 1
        if image.format in _WITH_FRAMES and getattr(image, "is_animated", False):
            frames = getattr(image, "n_frames", 1) if count_frames else 2
            image.seek(0)
        if not _is_deep(image) or _declared_white(image) is not None:
            return Description(size, frames)
        smallest, largest = _extremes(image, path)
        return Description(size, frames, "float" if image.mode == "F" else "integer", smallest, largest)


def full_scale(largest: float, kind: str) -> float:
    """The value of white in greys that do not say it, of which `largest` is the largest: 2^b - 1 for the smallest b.

    So it is 255, 4095 or 65535 for integers, which have at least 8 bits, and 1 or 255 for floating-point values. Values
    slightly beyond it, from rounding, do not count as another bit.
    """
    bits, beyond = (1, _ROUNDING) if kind == "float" else (8, 1.0)
    while largest > beyond * (2**bits - 1):
        bits += 1
    return float(2**bits - 1)


@contextmanager
def _opened(path: Path | ShardFile) -> Iterator[Image.Image]:
    """An opened image, with only its header read; any error, now or in the block, becomes a DataError.

    The header may claim more pixels than a picture may have.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Pillow only warns of images beyond its limit, and refuses those twice as large.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            if isinstance(path, Path):
                require_regular_file(path)
            with Image.open(path if isinstance(path, Path) else path.open(), formats=_FORMATS) as image:
                yield image
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            size = re.search(r"\d+ pixels", str(error))
            raise DataError(
                f"{path} claims {size[0] if size else 'too many pixels'}, more than the {Image.MAX_IMAGE_PIXELS:,} "
                "that an image may have: make it smaller"
            ) from error
        except FileNotFoundError:
            raise DataError(f"{path} does not exist") from None
        except UnidentifiedImageError:
            raise DataError(f"{path} cannot be read as an image: its format is not known") from None
        except _DAMAGED as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(f"{path} cannot be read as an image: {reason}") from error


def _is_deep(image: Image.Image) -> bool:
    """Whether its greys have more than 8 bits."""
    return image.mode.startswith(("I", "F"))


def _declared_white(image: Image.Image) -> float | None:
    """The value of white if the file states it: Pillow scales PGM itself, and TIFF has greys of 9 to 15 bits."""
    if image.format == "PPM" and image.mode != "F":
        return 65535.0
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))[0]
    return 2.0**bits - 1 if image.mode.startswith("I;16") and bits < 16 else None


def _white(image: Image.Image, rendering: Rendering, path: Path | ShardFile) -> float:
    """The value of white in a deep picture, after a check that its values are finite; without meaning for others."""
    if not _is_deep(image):
        return 255.0
    kind = "float" if image.mode == "F" else "integer"
    _, largest = _extremes(image, path)
    chosen = rendering.float_white if kind == "float" else rendering.white
    return _declared_white(image) or chosen or full_scale(largest, kind)


def _strips(image: Image.Image, multiple: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """Yield the first row and the pixels of parts from top to bottom; all but the last have a `multiple` of rows."""
    width, height = image.size
    rows = multiple * max(1, _STRIP_PIXELS // (width * multiple))
    for top in range(0, height, rows):
        yield top, image.crop((0, top, width, min(height, top + rows)))


def _extremes(image: Image.Image, path: Path | ShardFile) -> tuple[float, float]:
    """The smallest and the largest value. Raises DataError if one is NaN or infinite."""
    smallest, largest = math.inf, -math.inf
    for top, strip in _strips(image):
        values = np.asarray(strip)
        finite = np.isfinite(values)
        if not finite.all():
            row, column = np.argwhere(~finite)[0].tolist()
            raise DataError(
                f"{path} holds {values[row, column]:g} in row {top + row}, column {column} of its pixels, which is no "
                "brightness: replace it, or leave the picture out"
            )
        smallest, largest = min(smallest, float(values.min())), max(largest, float(values.max()))
    return smallest, largest


def _reduced(
    image: Image.Image, placement: Placement, grey: bool, white: float, background: tuple[int, int, int]
) -> Image.Image:
    """The seen part reduced by whole factors, strip by strip, to at least twice the size that it will fill."""
    across, down = (
        max(1, length // (2 * wanted)) for length, wanted in zip(placement.seen[2:], placement.place[2:], strict=True)
    )
    columns, rows = placement.seen.width // across, placement.seen.height // down
    # The seen part lies in the middle.
    left, top = (image.width - columns * across) // 2, (image.height - rows * down) // 2
    part = image.crop((left, top, left + columns * across, top + rows * down))
    result = Image.new("L" if grey else "RGB", (columns, rows))
    for first, strip in _strips(part, down):
        # Not by `reduce`, which turns 255 into 254 if it averages many.
        size = (columns, strip.height // down)
        flat = _flat(strip, grey, white, background).resize(size, Image.Resampling.BOX)
        result.paste(flat, (0, first // down))
    return result


def _flat(image: Image.Image, grey: bool, white: float, background: tuple[int, int, int]) -> Image.Image:
    """8-bit grey or RGB without transparency."""
    mask: Image.Image | None = None
    if _is_deep(image):
        values = np.asarray(image)
        if "transparency" in image.info:
            mask = Image.fromarray((values != image.info["transparency"]).astype(np.uint8) * 255)
        image = Image.fromarray((values.astype(np.float64) / white * 255).clip(0, 255).astype(np.uint8))
    elif image.mode == "LAB":
        image = _from_lab(image)
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        mask = image.getchannel("A")
    if mask is not None:
        image = Image.composite(image.convert("RGB"), Image.new("RGB", image.size, background), mask)
    return image.convert("L" if grey else "RGB")


def _from_lab(image: Image.Image) -> Image.Image:
    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
    assert converted is not None
    return converted
