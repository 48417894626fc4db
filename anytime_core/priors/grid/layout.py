"""Values in raster order, and as planes over the cells of a grid.

[C, *P] is the shape of the grid, or of a part of it: C values in each cell of P. E is how many numbers stand for a
value, F how many features of it there are, X how many numbers a cell has; A is how many parts there are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as nnf
from torch import Tensor


def as_planes(values: Tensor, channels: int, shape: tuple[int, ...]) -> Tensor:
    """Values [..., C * prod(P), E] of a part in raster order -> [..., C * E, *P]."""
    x = values.unflatten(-2, (*shape, channels))  # [..., *P, C, E]
    return x.movedim((-2, -1), (-len(shape) - 2, -len(shape) - 1)).flatten(-len(shape) - 2, -len(shape) - 1)


def in_raster_order(planes: Tensor, channels: int, axes: int) -> Tensor:
    """Planes [..., C * F, *P] -> [..., C * prod(P), F], those of the values of a part in raster order."""
    x = planes.unflatten(-axes - 1, (channels, -1)).movedim((-axes - 2, -axes - 1), (-2, -1))  # [..., *P, C, F]
    return x.flatten(-axes - 2, -2)


def interleaved(parts: Tensor) -> Tensor:
    """Parts [B, A, X, *P] of a grid of twice their size, A = 2^axes -> [B, X, *2P], part 0 in its first corner."""
    axes = parts.ndim - 3
    x = parts.unflatten(1, (2,) * axes)  # [B, 2, ..., X, *P]
    order = [axis for at in range(axes) for axis in (axes + 2 + at, 1 + at)]
    x = x.permute(0, axes + 1, *order)  # [B, X, P, 2, P, 2, ...]
    for at in range(axes):
        x = x.flatten(2 + at, 3 + at)
    return x


def before_in_cell(values: Tensor, channels: int, positions: int) -> Tensor:
    """The values in the cell of each of the first positions that stand before it, zeros for others.

    Args:
        values: [B, n, E], the first n in raster order.
        channels: C.
        positions: how many positions.

    Returns:
        [B, positions, C * E].
    """
    cells = -(-positions // channels)
    values = nnf.pad(values, (0, 0, 0, max(0, cells * channels - values.shape[1])))[:, : cells * channels]
    before = torch.ones(channels, channels, device=values.device).tril(-1).unsqueeze(-1)  # [C, C, 1]
    in_cell = values.unflatten(1, (cells, 1, channels)) * before  # [B, cells, C, C, E]
    return in_cell.flatten(3).flatten(1, 2)[:, :positions]
