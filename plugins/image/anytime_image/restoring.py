"""A user's picture as a square, and its reconstruction at the size of the picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from torch import Tensor

from anytime_image.binarizing import Binarization
from anytime_image.fitting import placed
from anytime_image.pixels import to_float, to_uint8
from anytime_image.reading import Rendering, read_image, shown_size
from anytime_image.writing import save


def read_sample(
    path: Path, shape: tuple[int, int, int], rendering: Rendering, binarize: Binarization | None = None
) -> Tensor:
    """A user's file as float32 [C, H, W] in [-1, 1], black and white by `binarize`. Raises DataError naming it."""
    image = read_image(path, shape, rendering)
    return to_float(image if binarize is None else binarize(image.unsqueeze(0)).squeeze(0))


class Picture:
    """One file. `write` undoes what made it a square; around a cropped square it puts the background.

    Args:
        path: the file.
        shape: (C, H, W) of samples.
        rendering: how the file becomes one.
        binarize: makes it black and white; None: it stays as it is.

    Raises:
        DataError: the file cannot be read.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, int, int],
        rendering: Rendering,
        binarize: Binarization | None = None,
    ) -> None:
        self.x = read_sample(path, shape, rendering, binarize)
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
