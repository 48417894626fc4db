"""Convolutions that see earlier values only, for all cells at once and for one value after another.

C is the number of values, or colours, in a cell. Channels of a map belong to colours: those of the first colour come
first. I is the number of channels that a convolution reads, F that of those it writes, k its kernel's size, d its
dilation, R a number of rows, and W one of columns.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from anytime_core.value_networks import Cell, ValueGrid

State = list[Tensor]
"""What a stepped convolution keeps of a batch, each [B, ...]."""


def colours_of(channels: int, colours: int, parts: int = 1) -> Tensor:
    """The colour that each channel belongs to, [channels]; each of `parts` equal parts has channels of all colours."""
    return torch.arange(colours).repeat_interleave(channels // (parts * colours)).repeat(parts)


class MaskedConvolution(nn.Module):
    """Sees the cells to the left, those above, and earlier colours of the own cell, [B, I, R, W] -> [B, F, R, W].

    Masks are those of PixelCNN (van den Oord et al., "Pixel Recurrent Neural Networks", ICML 2016, section 3.4); rows
    below are left out of the kernel.

    Args:
        inputs: I, a multiple of C.
        outputs: F, a multiple of `parts` times C.
        colours: C.
        kernel: k, odd.
        mask: a channel sees of its own cell the channels of earlier colours ("A") or also those of its own ("B").
        above: whether it sees rows above, k // 2 of them; else it sees the own row only.
        dilation: d.
        parts: how many maps lie side by side in F, each with channels of all colours.
    """

    mask: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        colours: int,
        *,
        kernel: int = 1,
        mask: Literal["A", "B"] = "B",
        above: bool = False,
        dilation: int = 1,
        parts: int = 1,
    ) -> None:
        super().__init__()
        self.colours, self.parts, self.dilation = colours, parts, dilation
        self.reach = kernel // 2
        self.above = self.reach if above else 0
        columns = kernel if self.above else self.reach + 1
        allowed = torch.ones(outputs, inputs, self.above + 1, columns)
        own, seen = colours_of(outputs, colours, parts).unsqueeze(1), colours_of(inputs, colours)
        allowed[:, :, -1, self.reach] = (own > seen if mask == "A" else own >= seen).float()
        allowed[:, :, -1, self.reach + 1 :] = 0
        self.register_buffer("mask", channels_last(allowed), persistent=False)
        self.masks = not bool(allowed.all())
        self.weight = nn.Parameter(channels_last(torch.empty_like(allowed)))
        nn.init.normal_(self.weight, std=max(1.0, allowed[-1].sum().item()) ** -0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def seen(self) -> Tensor:
        """The weight [F, I, rows, columns], zero where it must not see."""
        return self.weight * self.mask if self.masks else self.weight

    def forward(self, x: Tensor) -> Tensor:
        """[B, I, R, W] -> [B, F, R, W]."""
        left = self.dilation * self.reach
        if self.weight[0, 0].numel() > 1:
            x = nnf.pad(x, (left, left if self.above else 0, self.dilation * self.above, 0))
        return nnf.conv2d(x, self.seen(), self.bias, dilation=self.dilation)


class RowConvolution(nn.Module):
    """Sees whole rows, as far as its kernel reaches: the own one and those above, [B, I, R, W] -> [B, F, R, W].

    Args:
        inputs: I.
        outputs: F.
        kernel: k, odd.
        own: whether the own row is seen; k // 2 rows above it are in any case.
        dilation: d; 1 if the own row is not seen.
    """

    def __init__(self, inputs: int, outputs: int, *, kernel: int, own: bool = True, dilation: int = 1) -> None:
        super().__init__()
        self.own, self.dilation = own, dilation
        self.weight = nn.Parameter(channels_last(torch.empty(outputs, inputs, kernel // 2 + own, kernel)))
        nn.init.normal_(self.weight, std=self.weight[0].numel() ** -0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """[B, I, R, W] -> [B, F, R, W]."""
        rows, columns = self.weight.shape[2:]
        side = self.dilation * (columns // 2)
        x = nnf.pad(x, (side, side, self.dilation * (rows - 1) + (not self.own), 0 if self.own else -1))
        return nnf.conv2d(x, self.weight, self.bias, dilation=self.dilation)


class SteppedRows:
    """A convolution of one row after another.

    Args:
        weight: [F, I, rows, columns]; its last row sees the newest row that is handed over.
        bias: [F].
        dilation: d.
    """

    kept = 1

    def __init__(self, weight: Tensor, bias: Tensor, dilation: int = 1) -> None:
        self.weight, self.bias, self.dilation = weight.detach().clone(), bias.detach().clone(), dilation

    def state(self, batch: int, columns: int) -> State:
        """Earlier rows, [B, I, d (rows - 1), W], which are zero above the first."""
        earlier = self.dilation * (self.weight.shape[2] - 1)
        return [self.bias.new_zeros(batch, self.weight.shape[1], earlier, columns)]

    def step(self, row: Tensor, state: State) -> Tensor:
        """The next row [B, I, W] -> [B, F, W]."""
        (earlier,) = state
        rows = torch.cat([earlier, row.unsqueeze(2)], 2)
        earlier.copy_(rows[:, :, 1:])
        side = self.dilation * (self.weight.shape[3] // 2)
        return nnf.conv2d(rows, self.weight, self.bias, padding=(0, side), dilation=self.dilation).squeeze(2)


class SteppedMasked:
    """A masked convolution of one value after another; what it sees of rows above is computed row by row.

    Args:
        convolution: the convolution, undilated if it sees rows above.
        told: whether something else is added to its features, too.

    Attributes:
        kept: how many tensors its state has.
    """

    def __init__(self, convolution: MaskedConvolution, *, told: bool = False) -> None:
        self.parts, self.colours, self.dilation = convolution.parts, convolution.colours, convolution.dilation
        weight, bias = convolution.seen().detach(), convolution.bias.detach().clone()
        self.inputs, self.left = weight.shape[1], convolution.dilation * convolution.reach
        own = weight[:, :, -1, : convolution.reach + 1].permute(2, 1, 0)  # [taps, I, F]
        by_colour = own.unflatten(2, (self.parts, self.colours, -1)).permute(3, 0, 1, 2, 4)
        self.products = list(by_colour.flatten(3).flatten(1, 2).contiguous())  # C of [taps I, F / C]
        self.bias, self.biases = bias, list(self._by_colour(bias.unsqueeze(1))[0])  # C of [F / C]
        self.rows = SteppedRows(weight[:, :, :-1], bias) if convolution.above else None
        alone = not self.left and self.colours == 1  # nothing is seen but what is handed over
        self.kept = 3 if self.rows else 2 if told else 0 if alone else 1

    def state(self, batch: int, columns: int) -> State:
        """The row [B, left + W, I] as far as it is known; what is added to each product; earlier rows."""
        found = []
        if self.kept:
            found.append(self.bias.new_zeros(batch, self.left + columns if self.left else 1, self.inputs))
        if self.kept > 1:
            found.append(self.bias.new_zeros(batch, columns, self.colours, len(self.bias) // self.colours))
        return found + (self.rows.state(batch, columns) if self.rows else [])

    def start_row(self, state: State, told: Tensor | None = None) -> None:
        """Begin the next row. `told` [B, F, W] is added to the features of its cells."""
        if self.kept <= 1:
            return
        row, added, *earlier = state
        found = self.bias.unsqueeze(1)
        if self.rows:
            found = self.rows.step(row[:, self.left :].transpose(1, 2), earlier)
        added.copy_(self._by_colour(found if told is None else found + told))

    def _by_colour(self, features: Tensor) -> Tensor:
        """[..., F, W] -> [..., W, C, F / C]; features of each part follow each other."""
        return features.unflatten(-2, (self.parts, self.colours, -1)).movedim(-1, -4).transpose(-3, -2).flatten(-2)

    def write(self, x: Tensor, state: State, column: int, colour: int) -> None:
        """Keep the channels [B, I / C] of one colour of a cell."""
        size = self.inputs // self.colours
        state[0][:, self.left + column if self.left else 0, size * colour : size * (colour + 1)] = x

    def features(self, state: State, column: int, colour: int) -> Tensor:
        """Features [B, F / C] of one value; those of each part follow each other."""
        first = column if self.left else 0
        taps = state[0][:, first : first + self.left + 1 : self.dilation].flatten(1)
        added = self.biases[colour] if self.kept == 1 else state[1][:, column, colour]
        return torch.addmm(added, taps, self.products[colour])

    def step(self, x: Tensor, state: State, column: int, colour: int) -> Tensor:
        """The channels [B, I / C] of a value -> features [B, F / C] of it."""
        if not self.kept:
            return torch.addmm(self.biases[0], x, self.products[0])
        self.write(x, state, column, colour)
        return self.features(state, column, colour)


class SteppedNetwork(ABC):
    """A network of stepped convolutions; see `IncrementalValues`.

    Args:
        grid: what the network is built for.
        first: the convolution that sees values.
        others: its other convolutions.
    """

    def __init__(self, grid: ValueGrid, first: SteppedMasked, others: Sequence[SteppedMasked | SteppedRows]) -> None:
        self.grid, self.first, self.layers = grid, first, (first, *others)

    @abstractmethod
    def start_row(self, state: list[State], condition: Tensor | None) -> None:
        """Begin the next row, of whose cells the condition is [B, Q, W]; `state` is that of each convolution."""

    @abstractmethod
    def value(self, state: list[State], column: int, colour: int) -> Tensor:
        """Features [B, F] of a value; those before it are written."""

    @torch.no_grad()
    def state(self, batch: int, condition: Tensor | None) -> tuple[Tensor, ...]:
        """See `IncrementalValues`."""
        kept = (part for layer in self.layers for part in layer.state(batch, self.grid.shape[1]))
        return (*kept, *(() if condition is None else (condition.clone(memory_format=torch.contiguous_format),)))

    @torch.no_grad()
    def features(self, x: Tensor | None, state: tuple[Tensor, ...], cell: Cell) -> Tensor:
        """See `IncrementalValues`."""
        parts = iter(state)
        kept = [[next(parts) for _ in range(layer.kept)] for layer in self.layers]
        row, column, colour = cell
        if x is not None:
            place, before = divmod(column * self.grid.channels + colour - 1, self.grid.channels)
            self.first.write(x, kept[0], place % self.grid.shape[1], before)
        if column == colour == 0:
            self.start_row(kept, state[-1][:, :, row] if self.grid.condition else None)
        return self.value(kept, column, colour)


def channels_last(x: Tensor) -> Tensor:
    """`x` [B, I, R, W] with the channels of a cell side by side in memory: convolutions on the CPU are faster so."""
    return x.contiguous(memory_format=torch.channels_last)


def share(channels: int, colours: int) -> int:
    """The channels of each colour, if at least `channels` belong to all of them together."""
    return math.ceil(channels / colours)
