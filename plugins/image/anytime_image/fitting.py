"""How pictures of any shape become squares, and squares pictures of that shape again.

C is the number of channels, H and W are height and width in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from torch import Tensor

from anytime_core.display import counted
from anytime_image.config import Fit
from anytime_image.pixels import resized


class Box(NamedTuple):
    """A part of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int

    def cut(self, image: Tensor) -> Tensor:
        """Cut this part out of [C, H, W]."""
        return image[:, self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True)
class Placement:
    """The part of a picture that is seen, and its place in the square.

    Attributes:
        size: width and height of the picture.
        side: of the square.
        seen: the part of the picture.
        place: the part of the square that it fills.
    """

    size: tuple[int, int]
    side: int
    seen: Box
    place: Box

    def fitted(self, seen: Tensor, ground: Tensor) -> Tensor:
        """The square [C, side, side] of the seen part, uint8 [C, H, W], on a ground [C, 1, 1]."""
        return _laid(seen, self.place, (self.side, self.side), ground)

    def restored(self, square: Tensor, ground: Tensor) -> Tensor:
        """A picture of the original size, uint8 [C, H, W]: the square's content where it was, the ground elsewhere."""
        return _laid(self.place.cut(square), self.seen, self.size, ground)


def _laid(image: Tensor, place: Box, size: tuple[int, int], ground: Tensor) -> Tensor:
    """An image resized to fill `place` of one of `size` (width, height)."""
    image = resized(image, (place.height, place.width))
    if (place.width, place.height) == size:
        return image
    laid = ground.expand(-1, size[1], size[0]).clone()
    place.cut(laid).copy_(image)
    return laid


def placed(size: tuple[int, int], side: int, fit: Fit) -> Placement:
    """How a picture of `size` (width, height) becomes a square of `side` pixels."""
    whole, square = Box(0, 0, *size), Box(0, 0, side, side)
    if fit == "crop":
        return Placement(size, side, _centred(size, (min(size),) * 2), square)
    if fit == "pad":
        width, height = (max(1, round(length * side / max(size))) for length in size)
        return Placement(size, side, whole, _centred((side, side), (width, height)))
    return Placement(size, side, whole, square)


def _centred(outer: tuple[int, int], inner: tuple[int, int]) -> Box:
    left, top = (round((length - part) / 2) for length, part in zip(outer, inner, strict=True))
    return Box(left, top, *inner)


_CHANGES: Mapping[Fit, str] = {
    "crop": "cropped to the middle square, by {mean:.0f} % of the area on average and {most:.0f} % at most",
    "pad": "padded, by {mean:.0f} % of the square on average and {most:.0f} % at most",
    "stretch": "stretched, by a factor of {mean:.2f} on average and {most:.2f} at most",
}


def fitting_note(sizes: Mapping[tuple[int, int], int], side: int, fit: Fit) -> tuple[str, ...]:
    """A sentence on how pictures change, from how many have each size (width, height); none if they do not."""
    placements = {size: placed(size, side, fit) for size in sizes}
    shown = [size for size in sizes if size != (side, side)]
    if not shown:
        return ()
    smallest, largest = (f"{width}x{height}" for width, height in _ends(sizes))
    total = sum(sizes.values())
    between = smallest if smallest == largest else f"{smallest} to {largest}"
    parts = [f"{counted(total, 'pictures')} of {between} made {side}x{side} (data.size)"]
    enlarged = sum(sizes[size] for size in shown if placements[size].seen.width < placements[size].place.width)
    if enlarged:
        parts.append(f"{'all' if enlarged == total else f'{enlarged:,}'} enlarged")
    changed = {size: change for size in shown if (change := _change(placements[size], fit)) > 0}
    if changed:
        number = sum(sizes[size] for size in changed)
        mean = fmean(changed.values(), weights=[sizes[size] for size in changed])
        how = _CHANGES[fit].format(mean=mean, most=max(changed.values()))
        parts.append(f"{'all' if number == total else f'{number:,}'} {how} (data.fit={fit})")
    return ("; ".join(parts),)


def _ends(sizes: Mapping[tuple[int, int], int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The sizes with the smallest and with the largest area."""
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    return ordered[0], ordered[-1]


def _change(placement: Placement, fit: Fit) -> float:
    """How much `fit` changes a picture: percent of an area, or the factor that it is stretched by; 0 for a square."""
    width, height = placement.size
    if width == height:
        return 0.0
    if fit == "stretch":
        return max(width, height) / min(width, height)
    part, whole = (placement.seen, width * height) if fit == "crop" else (placement.place, placement.side**2)
    return 100 * (1 - part.width * part.height / whole)
