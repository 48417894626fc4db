"""The diagonal BiLSTM of PixelRNN (van den Oord et al., "Pixel Recurrent Neural Networks", ICML 2016).

[R, W, B, ...] are maps: R rows and W columns of a batch of B pictures. C is the number of colours, E how many numbers
stand for a value, H how many units there are for each colour, D the number of channels of the layer's input, Q that of
the condition.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anytime_core.value_networks import Cell
from anytime_image.value_networks.causal import PatchSteps
from anytime_image.value_networks.row_lstm import InputToState, lstm_cell
from anytime_image.value_networks.wavefront import scan


class DiagonalBiLSTM(nn.Module):
    """One LSTM goes to the right and one to the left, each from the cells beside and above; a cell sees all before it.

    What goes to the left is given to the row below, since it knows of values to the right. All of that row is known
    then, so it also sees the values themselves: without them, the last value of a row would be seen too late.

    Args:
        colours: C.
        width: H; D is 2 * C * H.
        condition: Q; 0: there is none.
        values: how many numbers stand for the values of a cell, C * E.
    """

    def __init__(self, colours: int, width: int, condition: int, values: int) -> None:
        super().__init__()
        units = colours * width
        self.units = units
        self.right = InputToState(colours, width, condition)
        self.left = nn.Linear(2 * units + values + condition, 4 * units)
        with torch.no_grad():
            self.left.bias[units : 2 * units] += 1  # as those of the other direction
        self.states = nn.Parameter(torch.empty(2, 2 * units, 4 * units).uniform_(-1, 1) * (2 * units) ** -0.5)

    def forward(self, x: Tensor, told: Tensor | None, values: Tensor) -> Tensor:
        """[R, W, B, D] -> [R, W, B, C * H].

        Args:
            x: the layer's input.
            told: the condition [R, W, B, Q].
            values: [R, W, B, C * E].
        """
        inputs = torch.stack([self.right(x, told), self.to_the_left(x, told, values).flip(1)])
        right, left = scan(inputs, 2 * self.units, self._diagonal)[..., : self.units]
        return right + F.pad(left.flip(1)[:-1], (0, 0, 0, 0, 0, 0, 1, 0))

    def to_the_left(self, x: Tensor, told: Tensor | None, values: Tensor) -> Tensor:
        """What the input adds to the gates of the units that go to the left, [..., 4 * C * H]; see `forward`."""
        return self.left(torch.cat([x, values] if told is None else [x, values, told], -1))

    def _diagonal(self, inputs: Tensor, beside: Tensor, above: Tensor) -> Tensor:
        """See `Step`; a state is the output and the memory, which comes from the cell beside."""
        h, memory = beside.chunk(2, -1)
        seen = torch.cat([h, above[..., : self.units]], -1)
        gates = torch.baddbmm(inputs.flatten(1, 2), seen.flatten(1, 2), self.states).view_as(inputs)
        return torch.cat(lstm_cell(gates, memory), -1)

    def state(self, batch: int, columns: int) -> tuple[Tensor, ...]:
        """What is kept of a new batch, each [B, ...].

        Of the units that go to the right the row of outputs, the memory of this cell and of the left one, and what
        both neighbours add to the gates of this cell; of those that go to the left the outputs of the row above; and
        the row of inputs.
        """
        like, units = self.states, self.units
        row, to_left = (like.new_zeros(batch, columns, units) for _ in range(2))
        memory, memory_left = (like.new_zeros(batch, units) for _ in range(2))
        inputs = like.new_zeros(batch, columns, 2 * units)
        return row, memory, memory_left, like.new_zeros(batch, 4 * units), to_left, inputs

    def step(
        self, x: Tensor, told: Tensor | None, values: Tensor, state: tuple[Tensor, ...], cell: Cell, patch: PatchSteps
    ) -> Tensor:
        """The output [B, C * H] at one cell; it is computed anew for each of its colours.

        Args:
            x: [B, D], the layer's input there.
            told: the condition of the whole picture, [B, Q, R, W].
            values: what `patch` keeps.
            state: of this layer; it is changed.
            cell: row, column and colour.
            patch: what keeps values.
        """
        h, memory, memory_left, gates, to_left, inputs = state
        row, column, colour = cell
        if not colour:
            self._begin(h, memory, memory_left, gates, column)
            if not column and row:
                told_above = None if told is None else told[:, :, row - 1].transpose(1, 2)
                self._row_to_the_left(self.to_the_left(inputs, told_above, patch.row_above(values)), to_left)
        inputs[:, column] = x
        own = self.right(x, None if told is None else told[:, :, row, column]) + gates
        h[:, column], memory[:] = lstm_cell(own, memory_left)
        return h[:, column] + to_left[:, column]

    def _begin(self, h: Tensor, memory: Tensor, memory_left: Tensor, gates: Tensor, column: int) -> None:
        """Take over what a cell needs of its neighbours, before what is kept of the one above is replaced."""
        left = h[:, column - 1] if column else torch.zeros_like(h[:, 0])
        gates.copy_(torch.cat([left, h[:, column]], -1) @ self.states[0])
        memory_left.copy_(memory if column else torch.zeros_like(memory))

    def _row_to_the_left(self, inputs: Tensor, outputs: Tensor) -> None:
        """Replace the outputs [B, W, C * H] of a row by those of the next one, given its inputs [B, W, 4 * C * H]."""
        h = memory = torch.zeros_like(outputs[:, 0])
        for column in reversed(range(outputs.shape[1])):
            seen = torch.cat([h, outputs[:, column]], -1)
            h, memory = lstm_cell(torch.addmm(inputs[:, column], seen, self.states[1]), memory)
            outputs[:, column] = h
