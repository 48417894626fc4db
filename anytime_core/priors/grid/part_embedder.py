"""What a part of a grid is told of the parts before it: a residual network over them side by side.

A part is every so many rows and columns of the grid, so all parts have the same shape *P and lie on top of each other.
A is how many parts there are, X how many numbers a cell of a part has, m how many parts are told something, U the
channels that each is told, Q the numbers that stand for a label, W the width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


class PartEmbedder(nn.Module):
    """Tells parts of a grid what is known from the parts before them, at every cell.

    It is told which part it speaks to, and sees zeros where a part is not before that one.

    Args:
        parts: A.
        inputs: X.
        outputs: U.
        width: W.
        blocks: how many residual blocks there are, each of two convolutions over 3 cells in each dimension.
        axes: the number of dimensions of *P.
        told: Q; 0: there is no label.
    """

    def __init__(
        self, parts: int, inputs: int, outputs: int, width: int, blocks: int, *, axes: int, told: int = 0
    ) -> None:
        super().__init__()
        convolution = _CONVOLUTIONS[axes]
        self.input = convolution(parts * inputs, width, 3, padding=1)
        self.part = nn.Embedding(parts, width)
        self.label = nn.Linear(told, width, bias=False) if told else None
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(), convolution(width, width, 3, padding=1), nn.ReLU(), convolution(width, width, 3, padding=1)
            )
            for _ in range(blocks)
        )
        self.output = convolution(width, outputs, 1)

    def forward(self, parts: Tensor, which: Tensor, label: Tensor | None) -> Tensor:
        """What the parts `which` are told.

        Args:
            parts: [B, A, X, *P], the numbers of each part; those that are not before a part do not matter to it.
            which: [B, m], numbers of parts.
            label: [B, Q], an embedding of the label; None if Q is 0.

        Returns:
            [B * m, U, *P].
        """
        before = torch.arange(parts.shape[1], device=parts.device) < which.unsqueeze(-1)  # [B, m, A]
        before = before.view(*before.shape, *(1 for _ in parts.shape[2:]))
        x = torch.where(before, parts.unsqueeze(1), 0.0).flatten(2, 3).flatten(0, 1)  # [B * m, A * X, *P]
        told = self.part(which)
        if self.label is not None:
            told = told + self.label(label).unsqueeze(1)
        h = self.input(x) + told.flatten(0, 1).view(len(x), -1, *(1 for _ in x.shape[2:]))
        for block in self.blocks:
            h = h + block(h)
        found: Tensor = self.output(torch.relu(h))
        return found
