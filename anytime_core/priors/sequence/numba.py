"""Sequence priors on the CPU, a step of a small batch as one call of a compiled kernel.

W is the width of inputs, F the number of features of a position.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from anytime_core.priors.sequence.kernels import Array
from anytime_core.priors.sequence.weights import EndWeights
from anytime_core.priors.stepping import Engine, require_cpu

if TYPE_CHECKING:
    from anytime_core.priors.sequence.model import IncrementalPrior

CompiledEnds = tuple[Array, Array, Array, Array]
"""Positions [N, W], tables [1 or N, K, W], matrices [1 or N, F, K] and biases [1 or N, K], see `StackedEnds`."""


@dataclass(frozen=True)
class CompiledNetwork:
    """The network of a prior as a kernel computes it.

    Attributes:
        step: (codes int64 [B] at the position before, position, first input [B, W], `CompiledEnds`, weights, state,
            buffers) -> None. It changes the state, and writes logits [B, K] to the last buffer.
        weights: what it reads.
        state: the shapes, for each sequence, of what it keeps; zeros before the first position.
        buffers: the shapes, for each sequence, of what it computes on the way.
    """

    step: Callable[..., None]
    weights: tuple[Any, ...]
    state: Sequence[tuple[int, ...]]
    buffers: Sequence[tuple[int, ...]]


class NumbaEngine(Engine):
    """See `Engine`. Each kind has its own, which compiles its network."""

    name = "numba"

    def __init__(self, prior: IncrementalPrior, precision: str = "float32") -> None:
        super().__init__(prior, precision)
        require_cpu(self.name, prior.device)
        self.ends = prior.ends(torch.float32)
        self.network = self.compiled(prior)

    @staticmethod
    @abstractmethod
    def compiled(prior: Any) -> CompiledNetwork:
        """The network of a prior."""

    def open(self, labels: Tensor | None, batch: int, length: int) -> CompiledStepper:
        """A stepper of a batch of `length` codes."""
        return CompiledStepper(self.ends, self.network, labels, batch)


class CompiledStepper:
    """See `Stepper`.

    Args:
        ends: the weights around the network, float32, on the CPU.
        network: the network.
        labels: [B], None for an unconditional prior.
        batch: B.
    """

    def __init__(self, ends: EndWeights, network: CompiledNetwork, labels: Tensor | None, batch: int) -> None:
        self.network = network
        self.ends = ends.once(CompiledStepper, lambda: _compiled_ends(ends))
        self.first_input = np.ascontiguousarray(ends.first_input(labels, batch).numpy())
        self.state = tuple(np.zeros((batch, *shape), np.float32) for shape in network.state)
        self._open_buffers()

    def _open_buffers(self) -> None:
        batch, codebook_size = len(self.first_input), self.ends[3].shape[1]
        shapes = [*self.network.buffers, (codebook_size,)]
        self.buffers = tuple(np.empty((batch, *shape), np.float32) for shape in shapes)
        self.no_codes = np.zeros(batch, np.int64)
        self.logits = torch.from_numpy(self.buffers[-1])

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        """Logits [B, K] of the code at `position`."""
        codes = self.no_codes if previous is None else previous.contiguous().numpy()
        network = self.network
        network.step(codes, position, self.first_input, self.ends, network.weights, self.state, self.buffers)
        return self.logits

    def keep(self, rows: Tensor) -> None:
        """Go on with only the sequences `rows`."""
        kept = rows.numpy()
        self.first_input = self.first_input[kept]
        self.state = tuple(part[kept] for part in self.state)
        self._open_buffers()


def _compiled_ends(ends: EndWeights) -> CompiledEnds:
    stacked = ends.stacked()
    parts = (ends.positions, stacked.tables, stacked.matrices, stacked.biases)
    positions, tables, matrices, biases = map(array, parts)
    return positions, tables, matrices, biases


def array(weights: Tensor) -> Array:
    """A copy of weights as kernels read them."""
    return np.array(weights.detach().float().numpy(), order="C")
