"""What recurrent networks need beside masked convolutions: layers at a cell, and the values around one cell.

C is the number of colours, E how many numbers stand for a value, k the size of a kernel, W the number of columns and B
the batch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anytime_core.value_networks import Cell, ValueGrid
from anytime_image.value_networks.masked import MaskedConvolution


class MaskedLinear(nn.Module):
    """A linear layer at a cell, in which channels see those of their own and of earlier colours (mask B).

    Args:
        inputs: the colour of each input channel.
        outputs: the colour of each output channel.
    """

    mask: Tensor

    def __init__(self, inputs: Tensor, outputs: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(len(inputs), len(outputs))
        mask = (outputs.unsqueeze(1) >= inputs).float()
        self.register_buffer("mask", mask, persistent=False)
        self.masks = not bool(mask.all())
        with torch.no_grad():  # what sees few channels has the scale of what sees all
            self.linear.weight *= (len(inputs) / mask.sum(1, keepdim=True)) ** 0.5

    def weight(self) -> Tensor:
        """The masked weight [outputs, inputs]."""
        return self.linear.weight * self.mask if self.masks else self.linear.weight

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        return F.linear(x, self.weight(), self.linear.bias)


class PatchSteps:
    """A masked convolution of values, one cell at a time.

    What is kept of a batch, `values`, are its last rows, with margins at the sides.

    Args:
        convolution: the convolution, which sees rows above and is not dilated.
        grid: C, E and W.
    """

    def __init__(self, convolution: MaskedConvolution, grid: ValueGrid) -> None:
        self.grid, self.margin, self.bias = grid, convolution.reach, convolution.bias.detach()
        kernel = convolution.seen().detach()  # [channels, C * E, rows, k]
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
        """What the values around a cell of the last row give, [B, channels]."""
        seen = values[:, :, column : column + 2 * self.margin + 1].flatten(1)
        return torch.addmm(self.bias, seen, self.weight)

    def own(self, values: Tensor, column: int) -> Tensor:
        """The values of a cell in the last row, [B, C * E]; those that are not known yet are zeros."""
        return values[:, -1, self.margin + column]

    def row_above(self, values: Tensor) -> Tensor:
        """The values of the whole row above, [B, W, C * E]."""
        return values[:, -2, self.margin : values.shape[2] - self.margin]
