"""The network of a sequence prior, one position at a time.

W is the width of inputs, F the number of features of a position.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from anytime_core.priors.sequence.weights import EndWeights, input_at
from anytime_core.priors.stepping import Position

State = tuple[Tensor, ...]
"""What a network keeps of a batch, each [B, ...]; zeros before the first position. Steps change it in place."""


class IncrementalNetwork(ABC):
    """Computes the features of one position after another. An engine makes one, and all its batches share it."""

    @abstractmethod
    def state(self, batch: int, length: int) -> State:
        """The state of a new batch of `length` positions: zeros, each [B, ...]."""

    @abstractmethod
    def features(self, x: Tensor, state: State, position: Position) -> Tensor:
        """The input [B, W] at `position` -> its features [B, F]; `state` is changed in place.

        If the position is a tensor, nothing may wait for the device, so that the work can be captured.
        """

    def logits(self, outputs: Tensor) -> Tensor:
        """What the last layer gives -> logits [B, K]; most kinds have a last layer that gives these."""
        return outputs


class SequenceStepper:
    """See `Stepper` and `CapturableStepper`.

    Args:
        ends: the weights around the network.
        network: the network.
        labels: [B] on the weights' device, None for an unconditional prior.
        batch: B.
        length: the most codes that will be drawn.
    """

    def __init__(
        self, ends: EndWeights, network: IncrementalNetwork, labels: Tensor | None, batch: int, length: int
    ) -> None:
        self.ends, self.network = ends, network
        self.first_input = ends.first_input(labels, batch).clone()
        self.kept = network.state(batch, length)

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        """Logits [B, K] of the code at `position`."""
        x = self.first_input + self.ends.positions[position]
        if previous is not None:
            x += self.ends.table(position - 1).index_select(0, previous)
        matrix, bias = self.ends.head(position)
        return self.network.logits(torch.addmm(bias, self.network.features(x, self.kept, position), matrix))

    def step_at(self, position: Tensor, previous: Tensor) -> Tensor:
        """Logits [B, K] of the code at `position`, int64 [1]; `previous` int64 [B] may be anything at position 0."""
        stacked = self.ends.stacked()
        x = input_at(self.first_input, self.ends.positions, stacked.tables, position, previous)
        matrix, bias = stacked.head(position)
        return self.network.logits(torch.addmm(bias, self.network.features(x, self.kept, position), matrix))

    def restart(self, labels: Tensor | None) -> None:
        """Begin another batch of the same shape in the same buffers."""
        self.first_input.copy_(self.ends.first_input(labels, len(self.first_input)))
        for part in self.kept:
            part.zero_()

    def keep(self, rows: Tensor) -> None:
        """Go on with only the sequences `rows`."""
        self.first_input = self.first_input[rows]
        self.kept = tuple(part.index_select(0, rows) for part in self.kept)
