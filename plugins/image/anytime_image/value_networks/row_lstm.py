"""The Row LSTM of PixelRNN (van den Oord et al., "Pixel Recurrent Neural Networks", ICML 2016).

[R, W, B, ...] are maps: R rows and W columns of a batch of B pictures. C is the number of colours, H how many units
there are for each of them, D the number of channels of the layer's input, Q that of the condition.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anytime_core.value_networks import Cell
from anytime_image.value_networks.causal import MaskedLinear, PatchSteps
from anytime_image.value_networks.masked import colours_of


def lstm_cell(gates: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """Output h and memory c of an LSTM's units.

    Args:
        gates: [..., 4 * units], before they are squashed: input, forget and output gates, and what may be written.
        memory: [..., units], before this cell.

    Returns:
        h and c, each [..., units].
    """
    units = memory.shape[-1]
    take, keep, show = gates[..., : 3 * units].sigmoid().chunk(3, -1)
    memory = keep * memory + take * gates[..., 3 * units :].tanh()
    return show * memory.tanh(), memory


class InputToState(nn.Module):
    """What a layer's input adds to its gates: that of the cell, with mask B, and the condition of the cell.

    Args:
        colours: C.
        width: H.
        condition: Q; 0: there is none.
    """

    def __init__(self, colours: int, width: int, condition: int) -> None:
        super().__init__()
        units = colours * width
        self.own = MaskedLinear(colours_of(2 * units, colours), colours_of(4 * units, colours, 4))
        with torch.no_grad():
            self.own.linear.bias[units : 2 * units] += 1  # forget gates that keep, at first
        self.told = nn.Linear(condition, 4 * units, bias=False) if condition else None

    def forward(self, x: Tensor, told: Tensor | None) -> Tensor:
        """[..., D] and the condition [..., Q] -> [..., 4 * C * H]."""
        gates = self.own(x)
        return gates if self.told is None else gates + self.told(told)


class RowLSTM(nn.Module):
    """Each row is computed at once, from the layer's input and from the three nearest cells of the row above.

    A cell sees a triangle above it: one column more to either side for each row.

    Args:
        colours: C.
        width: H; D is 2 * C * H.
        condition: Q; 0: there is none.
        values: how many numbers stand for the values of a cell; unused, as the input has told of them.
    """

    def __init__(self, colours: int, width: int, condition: int, values: int) -> None:
        super().__init__()
        units = colours * width
        self.units = units
        self.own = InputToState(colours, width, condition)
        self.left = nn.Linear(2 * units, 4 * units, bias=False)
        self.above = nn.Linear(3 * units, 4 * units, bias=False)

    def forward(self, x: Tensor, told: Tensor | None, values: Tensor) -> Tensor:
        """[R, W, B, D] -> [R, W, B, C * H].

        Args:
            x: the layer's input.
            told: the condition [R, W, B, Q].
            values: unused.
        """
        gates = self.own(x, told) + F.pad(self.left(x[:, :-1]), (0, 0, 0, 0, 1, 0))
        h = memory = gates.new_zeros(*gates.shape[1:3], self.units)
        rows = []
        weight = self.above.weight.t()
        for from_input in gates.flatten(1, 2):
            from_both = torch.addmm(from_input, self.neighbours(h, 0).flatten(0, 1), weight)
            h, memory = lstm_cell(from_both.view(*h.shape[:2], -1), memory)
            rows.append(h)
        return torch.stack(rows)

    @staticmethod
    def neighbours(h: Tensor, columns: int) -> Tensor:
        """Each cell of a row beside those to its left and right.

        Args:
            h: a row, [..., C * H].
            columns: which dimension of `h`, of three, its columns are.
        """
        h = F.pad(h, (0, 0, 0, 0, 1, 1) if columns == 0 else (0, 0, 1, 1))
        width = h.shape[columns] - 2
        return torch.cat([h.narrow(columns, first, width) for first in range(3)], -1)

    def state(self, batch: int, columns: int) -> tuple[Tensor, ...]:
        """What is kept of a new batch, each [B, ...].

        The row of outputs and of memories, the memories of the row above, what that row adds to the gates of this one,
        and the inputs of the left cell and of this one.
        """
        weight = self.above.weight
        row = (weight.new_zeros(batch, columns, self.units) for _ in range(3))
        inputs = (weight.new_zeros(batch, 2 * self.units) for _ in range(2))
        return (*row, weight.new_zeros(batch, columns, 4 * self.units), *inputs)

    def step(
        self, x: Tensor, told: Tensor | None, values: Tensor, state: tuple[Tensor, ...], cell: Cell, patch: PatchSteps
    ) -> Tensor:
        """The output [B, C * H] at one cell; it is computed anew for each of its colours.

        Args:
            x: [B, D], the layer's input there.
            told: the condition of the whole picture, [B, Q, R, W].
            values: unused.
            state: of this layer; it is changed.
            cell: row, column and colour.
            patch: unused.
        """
        h, memory, memory_above, above, left, own = state
        row, column, colour = cell
        if not column and not colour and row:
            above.copy_(self.above(self.neighbours(h, 1)))
            memory_above.copy_(memory)
        if not colour:
            left.copy_(own)
        own.copy_(x)
        gates = self.own(x, None if told is None else told[:, :, row, column]) + above[:, column]
        if column:
            gates = gates + self.left(left)
        h[:, column], memory[:, column] = lstm_cell(gates, memory_above[:, column])
        return h[:, column]
