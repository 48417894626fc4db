"""Pictures of two values: each value is white with the probability that its brightness says, or by a threshold.

Published likelihoods of binary MNIST are of drawn values (Salakhutdinov and Murray 2008), fixed ones (`static`) or
training images drawn anew each time (`dynamic`). Thresholded ones are other data, and cost some 10 nats less.
C is the number of channels, H and W are height and width in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from anytime_core.transfer import to_device
from anytime_image.config import DataConfig

Part = Literal["train", "validation", "files"]
_PARTS: tuple[Part, ...] = ("train", "validation", "files")
"""Each part has random numbers of its own. `files` are those of a user."""

_BLOCK = 16
"""How many draws of 16 bits a block of Philox's counter gives: four words of 64 bits."""

_AT_ONCE = 2**12
_WHITE_BELOW = np.rint(np.arange(256) * (2**16 / 255)).astype(np.uint32)
"""A value is white if a draw of 16 bits is below this, so black stays black, and white white."""


@dataclass(frozen=True)
class Binarization:
    """Makes pictures black and white, the same ones in every process and on every machine.

    Attributes:
        drawn: whether values are drawn by their brightness; else those from 128 on are white.
        seed: of the draws.
        part: what the pictures are.
    """

    drawn: bool
    seed: int
    part: Part

    def __call__(self, images: Tensor, first: int = 0) -> Tensor:
        """uint8 [n, C, H, W], the images `first`, `first` + 1, ... of the part -> uint8 of the same shape, 0 or 255.

        The draw of an image follows from the seed, the part and the number of the image, not from other images.
        """
        if not self.drawn:
            return (images > 127).to(torch.uint8) * 255
        binary = torch.empty_like(images)
        for start in range(0, len(images), _AT_ONCE):
            values = images[start : start + _AT_ONCE].flatten(1).numpy()
            white = self._draws(first + start, *values.shape) < _WHITE_BELOW[values]
            binary[start : start + _AT_ONCE] = torch.from_numpy(white).view_as(images[start : start + _AT_ONCE]) * 255
        return binary

    def _draws(self, first: int, images: int, values: int) -> np.ndarray:
        """[images, values], uint16, from Philox (Salmon et al. 2011), whose counter is at the first image's block."""
        blocks = -(-values // _BLOCK)
        philox = np.random.Philox(key=[self.seed, _PARTS.index(self.part)], counter=[first * blocks, 0, 0, 0])
        words = philox.random_raw(images * blocks * 4).astype("<u8")
        return words.view("<u2").reshape(images, blocks * _BLOCK)[:, :values]


def binarization(config: DataConfig, part: Part) -> Binarization | None:
    """How the images of a part become black and white when they are read; None if they stay as they are.

    Training images of `dynamic` stay grey, as each view of them is drawn anew, by `drawn_anew`.
    """
    if config.binarize is None or (config.binarize == "dynamic" and part == "train"):
        return None
    return Binarization(config.binarize != "threshold", config.binarize_seed, part)


def drawn_anew(x: Tensor, generator: torch.Generator) -> Tensor:
    """[B, C, H, W] in [-1, 1] -> values of -1 and 1, each 1 with probability (x + 1) / 2."""
    draws = to_device(torch.rand(x.shape, generator=generator), x.device)
    return torch.where(draws < (x + 1) / 2, 1.0, -1.0)


def binarization_note(config: DataConfig) -> tuple[str, ...]:
    """A sentence on what values of images are, none if they are as in their files."""
    return {
        None: (),
        "static": (f"values are black or white, drawn once by their brightness with seed {config.binarize_seed}",),
        "dynamic": (
            "values are black or white, drawn by their brightness: anew each time in training, of validation once with "
            f"seed {config.binarize_seed}",
        ),
        "threshold": ("values are black or white, white from half brightness on",),
    }[config.binarize]
