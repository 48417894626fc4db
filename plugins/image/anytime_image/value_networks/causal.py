"""Layers that see earlier values only, for networks that go through a picture in raster order.

[R, W, B, ...] are maps: R rows and W columns of a batch of B pictures. C is the number of colours, E how many numbers
stand for a value, k the size of a kernel. Channels of a map lie in C groups, those of the first colour first.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anytime_core.value_networks import Cell, ValueGrid


def colour_groups(colours: int, size: int, times: int = 1) -> Tensor:
    """The group of each channel, of `times` maps that have C groups of `size` channels each."""
    return torch.arange(colours).repeat_interleave(size).repeat(times)


class MaskedLinear(nn.Module):
    """A linear layer at a cell, in which channels see those of their own group and of earlier groups (mask B).

    Args:
        inputs: the group of each input channel.
        outputs: the group of each output channel.
    """

    mask: Tensor

    def __init__(self, inputs: Tensor, outputs: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(len(inputs), len(outputs))
        mask = (outputs.unsqueeze(1) >= inputs).float()
        self.register_buffer("mask", mask, persistent=False)
        with torch.no_grad():  # groups that see few channels have the scale of those that see all
            self.linear.weight *= (len(inputs) / mask.sum(1, keepdim=True)) ** 0.5

    def weight(self) -> Tensor:
        """The masked weight [outputs, inputs]."""
        return self.linear.weight * self.mask

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        return F.linear(x, self.weight(), self.linear.bias)


class CausalPatch(nn.Module):
    """A convolution over the values around a cell that come before it (mask A): above, and left in its row.

    Args:
        grid: C, E and the number of columns.
        kernel: k, odd; (k - 1) / 2 rows above are seen, and as many columns to either side.
        groups: the group of each output channel, which also sees the earlier colours of its own cell.
    """

    mask: Tensor

    def __init__(self, grid: ValueGrid, kernel: int, groups: Tensor) -> None:
        super().__init__()
        self.grid, self.margin = grid, kernel // 2
        values = grid.channels * grid.inputs
        mask = torch.ones(len(groups), values, self.margin + 1, kernel)
        mask[:, :, -1, self.margin + 1 :] = 0
        mask[:, :, -1, self.margin] = (groups.unsqueeze(1) > colour_groups(grid.channels, grid.inputs)).float()
        self.register_buffer("mask", mask, persistent=False)
        seen = mask.flatten(1).sum(1).mean().item()
        self.kernel = nn.Parameter(torch.randn(mask.shape) * seen**-0.5)
        self.bias = nn.Parameter(torch.zeros(len(groups)))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C * E, R, W] -> [R, W, B, channels]."""
        margin = self.margin
        x = F.pad(x, (margin, margin, margin, 0))
        return F.conv2d(x, self.kernel * self.mask, self.bias).permute(2, 3, 0, 1)


class PatchSteps:
    """The same, one cell at a time. What is kept of a batch, `values`, are its last rows, with margins at the sides."""

    def __init__(self, patch: CausalPatch) -> None:
        self.grid, self.margin, self.bias = patch.grid, patch.margin, patch.bias
        kernel = (patch.kernel * patch.mask).detach()  # [channels, C * E, rows, k]
        self.weight = kernel.permute(2, 3, 1, 0).flatten(0, 2).contiguous()

    def values(self, batch: int) -> Tensor:
        """The values of a new batch, [B, (k + 1) / 2, W + k - 1, C * E]."""
        grid, margin = self.grid, self.margin
        size = (batch, margin + 1, grid.shape[1] + 2 * margin, grid.channels * grid.inputs)
        return self.weight.new_zeros(size)

    def take(self, x: Tensor | None, values: Tensor, cell: Cell) -> None:
        """Take over the value before the one at `cell`.

        Args:
            x: [B, E], the value; None at the first cell.
            values: of this batch.
            cell: row, column and colour.
        """
        row, column, colour = cell
        if x is not None:
            place = self.margin + (column if colour else column - 1 if column else self.grid.shape[1] - 1)
            before = (colour - 1) % self.grid.channels
            values[:, -1, place, before * self.grid.inputs : (before + 1) * self.grid.inputs] = x
        if row and not column and not colour:
            values[:, :-1] = values[:, 1:].clone()
            values[:, -1] = 0

    def see(self, values: Tensor, column: int) -> Tensor:
        """What the patch of a cell in the last row gives, [B, channels]."""
        seen = values[:, :, column : column + 2 * self.margin + 1].flatten(1)
        return torch.addmm(self.bias, seen, self.weight)

    def own(self, values: Tensor, column: int) -> Tensor:
        """The values of a cell in the last row, [B, C * E]; those that are not known yet are zeros."""
        return values[:, -1, self.margin + column]

    def row_above(self, values: Tensor) -> Tensor:
        """The values of the whole row above, [B, W, C * E]."""
        return values[:, -2, self.margin : values.shape[2] - self.margin]
