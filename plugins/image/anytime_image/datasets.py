"""Image data sets: scikit-learn's digits, torchvision's collections, and any folder or tar shards of images.

Letters: n images, C channels, H and W pixels. Items are float32 in [-1, 1]; storage is uint8.
"""

from __future__ import annotations

import logging
import math
import re
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from anytime_core.errors import DataError
from anytime_core.locations import open_data_set
from anytime_core.modality import Datasets
from anytime_core.shards import ShardFile, split_shards
from anytime_core.user_files import split_folder
from anytime_image.config import DataConfig, sample_shape
from anytime_image.pixels import central_square, from_picture, resized, to_float

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM")
"""Of these suffixes. Pillow goes by content, and would read others too, EPS by running another program."""
# Decoders meet damage with all of these.
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
)
_IN_MEMORY_BYTES = 2**31
_NAMED_FILES = 20

logger = logging.getLogger(__name__)


class ImageTensor:
    """Images held in memory: `images` uint8 [n, C, H, W] and, where known, `labels` int64 [n]."""

    def __init__(self, images: Tensor, labels: Tensor | None) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item: dict[str, Any] = {"x": to_float(self.images[index])}
        return item if self.labels is None else {**item, "label": int(self.labels[index])}

    def batch(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Items `indices` as one batch."""
        picked = torch.as_tensor(indices)
        batch = {"x": to_float(self.images[picked])}
        return batch if self.labels is None else {**batch, "label": self.labels[picked]}


class ImageFiles:
    """Images decoded from their files when asked for. A file that cannot be read is replaced by the next one."""

    def __init__(
        self,
        files: Sequence[Path | ShardFile],
        labels: Sequence[int] | None,
        shape: tuple[int, int, int],
    ) -> None:
        self.files, self.labels, self.shape = files, labels, shape

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        for offset in range(len(self)):
            position = (index + offset) % len(self)
            try:
                image = read_image(self.files[position], self.shape)
            except DataError as error:
                logger.warning("%s; the next image is used instead", error)
                continue
            item: dict[str, Any] = {"x": to_float(image)}
            return item if self.labels is None else {**item, "label": self.labels[position]}
        raise DataError(f"none of the {len(self)} images can be read, such as {self.files[0]}")


def read_image(path: Path | ShardFile, shape: tuple[int, int, int]) -> Tensor:
    """A file as uint8 [C, H, W]: any mode becomes grey or RGB, the centre square is cut out and resized.

    Raises:
        DataError: the file is missing, no image, truncated, or so large that decoding it would be an attack.
    """
    try:
        with _opened(path) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith(("I", "F")):
                image = _to_eight_bits(image)
            image = image.convert("L" if shape[0] == 1 else "RGB")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except UnidentifiedImageError:
        raise DataError(f"{path} cannot be read as an image: its format is not known") from None
    except _DAMAGED as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from error
    pixels = from_picture(image)
    if pixels.shape[1:] != shape[1:]:
        # Cropped first: a long picture resized by its shorter side would be as long again.
        pixels = resized(central_square(pixels), shape[1:])
    return pixels


def _opened(path: Path | ShardFile) -> Image.Image:
    """An image whose header alone is read. Raises DataError where that claims more pixels than a picture has."""
    with warnings.catch_warnings():
        # Pillow warns of what is larger than its limit, and refuses only what is twice as large.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return Image.open(path if isinstance(path, Path) else path.open(), formats=_FORMATS)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            size = re.search(r"\d+ pixels", str(error))
            raise DataError(
                f"{path} claims {size[0] if size else 'too many pixels'}, more than the {Image.MAX_IMAGE_PIXELS:,} "
                "that an image may have: make it smaller"
            ) from error


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """16-bit, 32-bit and floating-point greys, which Pillow would clip at 255, scaled to 0..255."""
    values = np.asarray(image, dtype=np.float64)
    if image.mode.startswith("I;16"):
        top = 65535.0
    else:  # these formats do not say what is white
        tops = (1.0, 255.0, 65535.0) if image.mode == "F" else (255.0, 65535.0)
        top = next((top for top in tops if values.max() <= top), float(values.max()))
    return Image.fromarray((values / top * 255).clip(0, 255).astype(np.uint8))


def load_datasets(config: DataConfig) -> Datasets:
    """Training and validation images.

    Raises:
        DataError: saying where the data was looked for, or which file is at fault.
    """
    if config.name == "digits":
        return _digits(config)
    if config.name == "folder":
        return _folder(config)
    if config.name == "webdataset":
        return _webdataset(config)
    return open_data_set(
        config.name,
        config.root,
        download=config.download,
        open_in=lambda root, download: _torchvision(config, root, download),
    )


def _digits(config: DataConfig) -> Datasets:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (torch.from_numpy(digits.images) * (255 / 16)).round().to(torch.uint8).unsqueeze(1)
    held_out = torch.arange(len(images)) % 6 == 0
    return _in_memory(config, (images, digits.target), held_out, tuple("0123456789"))


def _in_memory(config: DataConfig, data: tuple[Tensor, Any], held_out: Tensor, classes: tuple[str, ...]) -> Datasets:
    """Images [n, C, H, W] and their labels, split by `held_out` [n] and brought to the configured shape."""
    images, labels = _to_shape(data[0], sample_shape(config)), torch.as_tensor(data[1]).long()
    train, validation = (ImageTensor(images[part], labels[part]) for part in (~held_out, held_out))
    return Datasets(train, validation, classes)


def _to_shape(images: Tensor, shape: tuple[int, int, int]) -> Tensor:
    if images.shape[1] != shape[0]:
        images = _to_grey(images) if shape[0] == 1 else images.expand(-1, 3, -1, -1)
    return resized(images, shape[1:])


def _to_grey(images: Tensor) -> Tensor:
    from torchvision.transforms import v2

    return v2.functional.rgb_to_grayscale(images)


def _torchvision(config: DataConfig, root: Path, download: bool) -> Datasets:
    import torchvision

    if config.name == "celeba":
        sets = [
            torchvision.datasets.CelebA(root, split=split, target_type=[], download=download)
            for split in ("train", "valid")
        ]
        folder = root / "celeba" / "img_align_celeba"
        train, validation = (
            ImageFiles([folder / name for name in images.filename], None, sample_shape(config)) for images in sets
        )
        return Datasets(train, validation)
    kind = {
        "mnist": torchvision.datasets.MNIST,
        "fashion-mnist": torchvision.datasets.FashionMNIST,
        "cifar10": torchvision.datasets.CIFAR10,
    }[config.name]
    parts = [kind(root, train=train, download=download) for train in (True, False)]
    images = torch.cat([torch.as_tensor(part.data) for part in parts])
    images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
    labels = torch.cat([torch.as_tensor(part.targets) for part in parts])
    held_out = torch.arange(len(images)) >= len(parts[0].data)
    return _in_memory(config, (images, labels), held_out, tuple(parts[0].classes))


def _folder(config: DataConfig) -> Datasets:
    split = split_folder(config.root, IMAGE_SUFFIXES, share=config.validation_share, noun="image")
    shape = sample_shape(config)
    train, validation = (ImageFiles(part.files, part.labels, shape) for part in (split.train, split.validation))
    if (len(train) + len(validation)) * math.prod(shape) > _IN_MEMORY_BYTES:
        return Datasets(train, validation, split.classes)
    return Datasets(_decode_all(train, config.root), _decode_all(validation, config.root), split.classes)


def _webdataset(config: DataConfig) -> Datasets:
    """Images of tar shards, decoded when asked for however few they are."""
    split = split_shards(config.root, IMAGE_SUFFIXES, share=config.validation_share, noun="image")
    shape = sample_shape(config)
    train, validation = (ImageFiles(part.files, part.labels, shape) for part in (split.train, split.validation))
    return Datasets(train, validation, split.classes)


def _decode_all(files: ImageFiles, root: Path | None) -> ImageTensor:
    """Decode every image once; unreadable ones are left out, counted, and the first of them named."""
    images, kept, left_out = [], [], 0
    for index, path in enumerate(files.files):
        try:
            images.append(read_image(path, files.shape))
            kept.append(index)
        except DataError as error:
            left_out += 1
            if left_out <= _NAMED_FILES:
                logger.warning("%s; it is left out", error)
    if not images:
        raise DataError(f"none of the {len(files)} images in {root} can be read, such as {files.files[0]}")
    if left_out:
        logger.warning("%d of %d images in %s could not be read", left_out, len(files), root)
    labels = None if files.labels is None else torch.tensor([files.labels[index] for index in kept])
    return ImageTensor(torch.stack(images), labels)
