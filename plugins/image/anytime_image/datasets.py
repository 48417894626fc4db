"""Image data sets: scikit-learn's digits, torchvision's collections, and any folder or tar shards of images.

n is the number of images, C of channels, H and W are height and width in pixels. Items are float32 in [-1, 1], stored
as uint8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anytime_core.damaged import Damaged
from anytime_core.data.locations import open_data_set
from anytime_core.data.shards import ShardFile, split_shards
from anytime_core.data.user_files import LabelledFiles, SplitFiles, split_folder
from anytime_core.display import counted
from anytime_core.errors import DataError
from anytime_core.found import Found, class_counts
from anytime_core.modality import Datasets
from anytime_image.binarizing import Binarization, binarization, binarization_note
from anytime_image.config import DataConfig, background_colour, sample_shape
from anytime_image.fitting import fitting_note
from anytime_image.pixels import resized, to_float
from anytime_image.reading import IMAGE_SUFFIXES, UNREAD_SUFFIXES, UNSAID, Rendering, read_image
from anytime_image.survey import survey

_IN_MEMORY_BYTES = 2**31
_LOOKED_AT = 2000
"""How many files of a set too large for memory are looked at beforehand, spread evenly."""


class ImageTensor:
    """Images held in memory: `images` uint8 [n, C, H, W] and, if known, `labels` int64 [n]."""

    def __init__(self, images: Tensor, labels: Tensor | None) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item: dict[str, Any] = {"x": to_float(self.images[index])}
        return item if self.labels is None else {**item, "label": int(self.labels[index])}

    def item_labels(self) -> np.ndarray | None:
        """The label of each item, int64 [n], if known."""
        return None if self.labels is None else self.labels.numpy()

    def batch(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Items `indices` as one batch."""
        picked = torch.as_tensor(indices)
        batch = {"x": to_float(self.images[picked])}
        return batch if self.labels is None else {**batch, "label": self.labels[picked]}


class ImageFiles:
    """Images that are decoded from their files when they are needed.

    Args:
        files: of the images.
        labels: of the files, if known.
        shape: (C, H, W).
        rendering: how pictures look where files leave it open.
        frames: how many images each file holds; None: one.
        binarize: makes them black and white; None: they stay as they are.

    Raises:
        DataError: the file of an item cannot be read.
    """

    def __init__(
        self,
        files: Sequence[Path | ShardFile],
        labels: Sequence[int] | None,
        shape: tuple[int, int, int],
        rendering: Rendering = UNSAID,
        frames: Sequence[int] | None = None,
        binarize: Binarization | None = None,
    ) -> None:
        self.files, self.labels, self.shape, self.rendering = files, labels, shape, rendering
        self.binarize = binarize
        self._ends = None if frames is None else np.cumsum(frames)  # [files], where the items of each file end

    def __len__(self) -> int:
        return len(self.files) if self._ends is None else int(self._ends[-1])

    def __getitem__(self, index: int) -> dict[str, Any]:
        position, _ = self.place(index)
        item: dict[str, Any] = {"x": to_float(self.image(index))}
        return item if self.labels is None else {**item, "label": self.labels[position]}

    def item_labels(self) -> np.ndarray | None:
        """The label of each item, int64 [n], if known."""
        if self.labels is None:
            return None
        labels = np.asarray(self.labels, np.int64)
        return labels if self._ends is None else np.repeat(labels, np.diff(self._ends, prepend=0))

    def place(self, index: int) -> tuple[int, int]:
        """The position of an item's file, and the number of the image in it. Raises IndexError after the last."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        if self._ends is None:
            return index, 0
        position = int(np.searchsorted(self._ends, index, side="right"))
        return position, index - (int(self._ends[position - 1]) if position else 0)

    def image(self, index: int) -> Tensor:
        """An item as uint8 [C, H, W]."""
        position, frame = self.place(index)
        image = read_image(self.files[position], self.shape, self.rendering, frame)
        return image if self.binarize is None else self.binarize(image.unsqueeze(0), index).squeeze(0)


def load_datasets(config: DataConfig) -> Datasets:
    """Training and validation images; `settled` is `config` with the values that it left to the data.

    Raises:
        DataError: the data was not found, or a file is at fault; the message says where, or which.
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
    shape, (height, width) = sample_shape(config), data[0].shape[-2:]
    images, labels = _to_shape(data[0], shape), torch.as_tensor(data[1]).long()
    train = ImageTensor(_binary(images[~held_out], binarization(config, "train")), labels[~held_out])
    validation = ImageTensor(_binary(images[held_out], binarization(config, "validation")), labels[held_out])
    found = Found(
        train=len(train),
        validation=len(validation),
        classes=class_counts(classes, train.item_labels(), validation.item_labels()),
        notes=(*fitting_note({(width, height): len(images)}, shape[1], config.fit), *binarization_note(config)),
    )
    return Datasets(train, validation, classes, found)


def _binary(images: Tensor, binarize: Binarization | None) -> Tensor:
    return images if binarize is None else binarize(images)


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
        train, validation = (LabelledFiles([folder / name for name in images.filename]) for images in sets)
        return _of_files(config, SplitFiles(train, validation), in_memory=False)
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
    split = split_folder(
        config.root, IMAGE_SUFFIXES, share=config.validation_share, noun="image", unread=UNREAD_SUFFIXES
    )
    number = len(split.train.files) + len(split.validation.files)
    return _of_files(config, split, in_memory=number * math.prod(sample_shape(config)) <= _IN_MEMORY_BYTES)


def _webdataset(config: DataConfig) -> Datasets:
    """Images of tar shards; they are decoded when they are needed, however few they are."""
    split = split_shards(config.root, IMAGE_SUFFIXES, share=config.validation_share, noun="image")
    return _of_files(config, split, in_memory=False)


def _of_files(config: DataConfig, split: SplitFiles, *, in_memory: bool) -> Datasets:
    """Images of files, rendered alike. Those held in memory are decoded now, and unreadable ones are left out."""
    every_frame = config.frames == "all"
    parts = (split.train, split.validation)
    most = None if in_memory or every_frame else _LOOKED_AT
    seen = survey([part.files for part in parts], every_frame=every_frame, most=most)
    config = config.model_copy(
        update={
            "white": config.white or seen.white("integer"),
            "float_white": config.float_white or seen.white("float"),
        }
    )
    shape, rendering = sample_shape(config), rendering_of(config)
    binarized = (binarization(config, "train"), binarization(config, "validation"))
    sets: list[ImageFiles | ImageTensor] = [
        ImageFiles(part.files, part.labels, shape, rendering, seen.frames(number) if every_frame else None, binarize)
        for number, (part, binarize) in enumerate(zip(parts, binarized, strict=True))
    ]
    damaged = Damaged("images")
    if in_memory:
        sets = [_decode_all(images, damaged) for images in sets if isinstance(images, ImageFiles)]
    train, validation = sets
    found = split.found or Found(train=0, validation=0)
    found = found.model_copy(
        update={
            "train": len(train),
            "validation": len(validation),
            "classes": class_counts(split.classes, train.item_labels(), validation.item_labels()),
            "forms": seen.forms,
            "notes": (
                *found.notes,
                *seen.notes(shape[1], rendering, every_frame=every_frame),
                *binarization_note(config),
            ),
            "passed_over": (*found.passed_over, *damaged.passed_over()),
        }
    )
    return Datasets(train, validation, split.classes, found, config)


def rendering_of(config: DataConfig) -> Rendering:
    """How pictures look, from `config`."""
    return Rendering(background_colour(config.background), config.white, config.float_white, config.fit)


def _decode_all(files: ImageFiles, damaged: Damaged) -> ImageTensor:
    """Decode every image once; unreadable ones are left out and reported to `damaged`."""
    images, kept = [], []
    for index in range(len(files)):
        try:
            images.append(files.image(index))
            kept.append(index)
        except DataError as error:
            damaged.add(damaged.count, str(error))
    if not images:
        raise DataError(
            f"none of the {counted(len(files), 'images')} of a part can be read: {damaged.examples[-1]}; "
            "without the damaged ones, others are trained on or held out"
        )
    labels = files.item_labels()
    return ImageTensor(torch.stack(images), None if labels is None else torch.from_numpy(labels[kept]))
