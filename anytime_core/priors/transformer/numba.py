"""Steps on the CPU with kernels compiled by numba, in float32 or with 8-bit weights.

A step of a small batch is one call of a kernel. A large batch takes torch's products, and its attention is a kernel.

n is the number of codes to draw, W the width, E the size of a head, G the number of key-value heads; I and O are the
inputs and outputs of a product.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar, Literal

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anytime_core.priors.stepping import Engine, Stepper, require_cpu
from anytime_core.priors.transformer.choice import is_small
from anytime_core.priors.transformer.eager import open_batch
from anytime_core.priors.transformer.kernels import attend, step
from anytime_core.priors.transformer.model import TransformerPrior
from anytime_core.priors.transformer.patterns import places_of, slots_of
from anytime_core.priors.transformer.weights import FoldedWeights, fold

Precision = Literal["float32", "int8"]

_THREADED_FROM = 2**23
"""With more bytes of weights, a step gains from several threads, which wait for each other at every product."""

_ONE_AT_A_TIME = threading.Lock()

_Matrix = tuple[NDArray, NDArray, NDArray]
"""Weight [..., O, I], scale [..., O] and bias [..., O]: each row of weights is multiplied by its scale."""


class NumbaEngine(Engine):
    """See `Engine`. With precision `int8` the logits are close to those of the other engines, but not the same."""

    name = "numba"
    precisions: ClassVar[tuple[str, ...]] = ("float32", "int8")

    def __init__(self, prior: TransformerPrior, precision: str = "float32") -> None:
        super().__init__(prior, precision)
        require_cpu(self.name, prior.device)
        _ = _threading_layer()
        self.weights = fold(prior, torch.float32)

    def open(self, labels: Tensor | None, batch: int, length: int) -> Stepper:
        """A stepper of a batch of `length` codes."""
        if self.precision == "float32" and not is_small(batch, self.weights.bytes):
            return open_batch(self.weights, labels, batch, length, FusedAttention)
        return NumbaStepper(self.weights, labels, batch, length, "int8" if self.precision == "int8" else "float32")


class FusedAttention:
    """See `Attention`. It runs on the thread that calls it, and reads each key and value once.

    Args:
        weights: the weights of the prior, float32, on the CPU.
        batch: B.
        length: n.
    """

    def __init__(self, weights: FoldedWeights, batch: int, length: int) -> None:
        places = places_of(weights.patterns, length)
        self.places: list[list[tuple[int, int]]] = places.tolist()
        shape = (len(weights.layers), batch, slots_of(places), weights.kv_heads, weights.head_size)
        # By numpy, which asks for large pages: memory is then read a tenth faster than that of torch's tensors.
        self.keys, self.values = np.empty(shape, np.float32), np.empty(shape, np.float32)
        self.scores = np.empty((weights.heads, shape[2]), np.float32)

    def attend(self, layer: int, projected: Tensor, position: int) -> Tensor:
        """[B, W + 2 G E] -> [B, W]."""
        batch, size = len(projected), self.keys.shape[-1]
        out = projected.new_empty(batch, len(self.scores), size)
        by_head = projected.view(batch, -1, size).numpy()
        place = self.places[layer][position]
        attend(by_head, self.keys[layer], self.values[layer], *place, self.scores, out.numpy())
        return out.flatten(1)

    def keep(self, rows: Tensor) -> None:
        """Go on with only the sequences `rows`."""
        self.keys, self.values = (_kept(buffer, rows) for buffer in (self.keys, self.values))


class NumbaStepper:
    """See `Stepper`.

    Args:
        weights: the weights of the prior, float32, on the CPU.
        labels: [B], None for an unconditional prior.
        batch: B.
        length: n.
        precision: `int8` rounds each row of the weights to 8 bits; codes are then no longer those of engine `plain`.
    """

    def __init__(
        self,
        weights: FoldedWeights,
        labels: Tensor | None,
        batch: int,
        length: int,
        precision: Precision = "float32",
    ) -> None:
        self.weights, self.precision = weights, precision
        self.layers = weights.once(("numba", precision), lambda: _layers(weights, precision))
        self.first_input = weights.first_input(labels, batch)
        places = places_of(weights.patterns, length)
        self.places = np.ascontiguousarray(places.swapaxes(0, 1))  # [n, layers, 2]
        shape = (len(weights.layers), batch, slots_of(places), weights.kv_heads, weights.head_size)
        self.keys, self.values = np.empty(shape, np.float32), np.empty(shape, np.float32)
        threads = torch.get_num_threads() if _bytes(self.layers) >= _THREADED_FROM else 1
        self.threads = min(threads, numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]
        self._open_buffers()

    def keep(self, rows: Tensor) -> None:
        """Go on with only the sequences `rows`."""
        self.first_input = self.first_input[rows]
        self.keys, self.values = (_kept(buffer, rows) for buffer in (self.keys, self.values))
        self._open_buffers()

    def _open_buffers(self) -> None:
        _, batch, slots, groups, size = self.keys.shape
        width, hidden, heads = self.weights.width, self.weights.hidden, self.weights.heads
        outputs = self.weights.head(0)[1].shape[0]
        shapes = (batch, width), (batch, width + 2 * groups * size), (batch, hidden), (heads, slots), (batch, outputs)
        self.buffers = tuple(np.empty(shape, np.float32) for shape in shapes)
        self.logits = torch.from_numpy(self.buffers[-1])

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        """Logits [B, K] of the code at `position`."""
        x = self.first_input + self.weights.positions[position]
        if previous is not None:
            x += self.weights.table(position - 1)[previous]
        matrix, bias = self.weights.head(position)
        head = self.weights.once(
            ("numba head", id(matrix), self.precision), lambda: _matrix(matrix, bias, self.precision)
        )
        with _alone_if_needed():
            numba.set_num_threads(self.threads)  # of this thread only
            buffers, epsilon = self.buffers, self.weights.epsilon
            step(x.numpy(), self.places[position], self.layers, head, self.keys, self.values, epsilon, buffers)
        return self.logits


def _kept(buffer: Any, rows: Tensor) -> Any:
    """The rows of a buffer [layers, B, ...] in its layout; for another one, kernels would be compiled again."""
    return np.ascontiguousarray(buffer[:, rows.numpy()])


def _alone_if_needed() -> contextlib.AbstractContextManager[object]:
    """A lock if numba uses its own pool of threads, which serves one caller at a time; else nothing."""
    return _ONE_AT_A_TIME if _threading_layer() == "workqueue" else contextlib.nullcontext()


@cache
def _threading_layer() -> str:
    """The kind of numba's threads, which this starts."""
    before = torch.get_num_threads()
    numba.set_num_threads(numba.get_num_threads())
    torch.set_num_threads(before)  # starting numba's threads changes it
    layer: str = numba.threading_layer()  # type: ignore[attr-defined]
    return layer


def rounded(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Each row of [..., O, I] as 8-bit integers, and its scale [..., O]: the largest value of a row becomes 127."""
    scale = matrix.abs().amax(-1).clamp(min=torch.finfo(matrix.dtype).tiny) / 127
    return (matrix / scale.unsqueeze(-1)).round().to(torch.int8), scale


def _matrix(weight: Tensor, bias: Tensor, precision: Precision) -> _Matrix:
    """Weight [..., I, O] and bias [..., O] in the form that the kernels read."""
    weight = weight.transpose(-1, -2).contiguous()
    scale = torch.ones_like(bias)
    if precision == "int8":
        weight, scale = rounded(weight)
    return weight.numpy(), scale.numpy(), bias.contiguous().numpy()


def _bytes(layers: Sequence[_Matrix]) -> int:
    return sum(weight.nbytes for weight, _, _ in layers)


def _layers(weights: FoldedWeights, precision: Precision) -> tuple[_Matrix, ...]:
    def stacked(parts: Sequence[tuple[Tensor, Tensor]]) -> _Matrix:
        matrices, biases = zip(*parts, strict=True)
        return _matrix(torch.stack(matrices), torch.stack(biases), precision)

    return (
        stacked([layer.to_queries_keys_values for layer in weights.layers]),
        stacked([layer.project for layer in weights.layers]),
        stacked([layer.expand for layer in weights.layers]),
        stacked([layer.shrink for layer in weights.layers]),
    )
