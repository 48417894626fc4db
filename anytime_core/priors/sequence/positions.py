"""Embeddings of positions that follow from the grid of the codes. N is the number of codes, W the width of inputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anytime_core.quantizers.base import CodeSpec


class GridPositions(nn.Module):
    """The sum of one learned embedding of each coordinate, such as the row and the column, of a position's cell.

    Args:
        spec: has the grid, and the cell of each position.
        width: W.
    """

    coordinates: Tensor

    def __init__(self, spec: CodeSpec, width: int) -> None:
        super().__init__()
        cells = torch.arange(spec.length) if spec.order is None else torch.tensor(spec.order[: spec.length])
        self.axes = nn.ModuleList(nn.Embedding(size, width) for size in spec.axes)
        self.register_buffer("coordinates", torch.stack(torch.unravel_index(cells, spec.axes)), persistent=False)

    @property
    def weight(self) -> Tensor:
        """The embedding of each position, [N, W]."""
        return torch.stack([axis(index) for axis, index in zip(self.axes, self.coordinates, strict=True)]).sum(0)
