"""Steps of a transformer prior that are the same bits on every machine, for files that are decoded on another machine.

One thread computes every sequence of a batch by itself, in float32; see `exact_kernels`. It is slow for large batches:
nothing is folded or packed, and sequences share only the reading of weights.

n is the number of codes to draw, L the number of layers, W the width; I and O are the inputs and outputs of a product.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anytime_core.priors.sequence.kernels import add_product
from anytime_core.priors.stepping import Engine, require_cpu
from anytime_core.priors.transformer.exact_kernels import exact_step
from anytime_core.priors.transformer.model import TransformerPrior
from anytime_core.priors.transformer.patterns import places_of, slots_of

Array = NDArray[np.float32]


class ExactEngine(Engine):
    """See `Engine`."""

    name = "exact"

    def __init__(self, prior: TransformerPrior, precision: str = "float32") -> None:
        super().__init__(prior, precision)
        require_cpu(self.name, prior.device)
        self.weights = _Weights(prior)

    def open(self, labels: Tensor | None, batch: int, length: int) -> ExactStepper:
        """A stepper of a batch of `length` codes."""
        return ExactStepper(self.weights, labels, batch, length)


class _Weights:
    """A prior's parameters in the form that the kernels read: matrices are [I, O], matrices of all blocks [L, I, O]."""

    def __init__(self, prior: TransformerPrior) -> None:
        def of_blocks(name: str) -> tuple[Array, Array]:
            weights, biases = zip(*(_parts(block.get_submodule(name)) for block in prior.blocks), strict=True)
            return np.stack(weights), np.stack(biases)

        self.layers = (
            of_blocks("attention_norm"),
            of_blocks("queries_keys_values"),
            of_blocks("project"),
            of_blocks("feedforward_norm"),
            of_blocks("expand"),
            of_blocks("shrink"),
        )
        self.norm, self.head = _parts(prior.norm), _parts(prior.head)
        self.start, self.token, self.positions = (
            _array(part.weight) for part in (prior.start, prior.token, prior.position)
        )
        self.heads, self.kv_heads, self.epsilon = prior.heads, prior.kv_heads, np.float32(prior.norm.eps)
        self.patterns = prior.patterns
        self.vectors: Array | None = None
        if prior.vectors is not None:
            table = prior.vectors if prior.vectors.ndim == 3 else prior.vectors.unsqueeze(0)
            self.vectors = _array(table)  # [N or 1, K, D]
            self.vectors_transposed = _array(table.transpose(1, 2))  # [N or 1, D, K]
            self.from_vector = _parts(prior.from_vector)
            self.to_vector = _array(prior.to_vector.weight.T)  # [W, D]

    def table_of(self, position: int) -> int:
        """The number of the table of code vectors of a position."""
        return position if self.vectors is not None and len(self.vectors) > 1 else 0


class ExactStepper:
    """See `Stepper`.

    Args:
        weights: the weights of the prior.
        labels: [B], None for an unconditional prior.
        batch: B.
        length: n.
    """

    def __init__(self, weights: _Weights, labels: Tensor | None, batch: int, length: int) -> None:
        self.weights = weights
        self.start = weights.start[np.zeros(batch, np.int64) if labels is None else labels.numpy()]  # [B, W]
        layers, width = len(weights.layers[0][0]), weights.positions.shape[1]
        size = width // weights.heads
        self.scale = np.float32(1 / math.sqrt(size))
        places = places_of(weights.patterns, length)
        self.places, slots = np.ascontiguousarray(places.swapaxes(0, 1)), slots_of(places)  # [n, layers, 2]
        self.keys = np.empty((layers, batch, weights.kv_heads, size, slots), np.float32)
        self.values = np.empty((layers, batch, weights.kv_heads, slots, size), np.float32)

    def keep(self, rows: Tensor) -> None:
        """Go on with only the sequences `rows`."""
        self.start, kept = self.start[rows.numpy()], rows.numpy()
        self.keys, self.values = (np.ascontiguousarray(buffer[:, kept]) for buffer in (self.keys, self.values))

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        """Logits [B, K] of the code at `position`."""
        weights, batch = self.weights, len(self.start)
        projected, hidden = (weights.layers[number][1].shape[1] for number in (1, 4))
        shapes = self.start.shape, (batch, projected), (batch, hidden), (self.keys.shape[-1],)
        buffers = tuple(np.empty(shape, np.float32) for shape in shapes)
        x = self._input(position, previous)
        places, kept = self.places[position], (self.keys, self.values)
        exact_step(x, places, weights.layers, weights.norm, *kept, self.scale, weights.epsilon, buffers)
        normalised, (head, bias) = buffers[0], weights.head
        logits = _repeated(bias, batch)
        add_product(normalised, head, logits)
        if weights.vectors is not None:
            expected = np.zeros((batch, weights.to_vector.shape[1]), np.float32)
            add_product(normalised, weights.to_vector, expected)
            add_product(expected, weights.vectors_transposed[weights.table_of(position)], logits)
        return torch.from_numpy(logits)

    def _input(self, position: int, previous: Tensor | None) -> Array:
        """The input of the first block, [B, W]."""
        weights = self.weights
        if previous is None:
            return self.start + weights.positions[position]
        codes = previous.numpy()
        x = weights.token[codes]
        if weights.vectors is not None:
            matrix, bias = weights.from_vector
            seen = _repeated(bias, len(codes))
            add_product(weights.vectors[weights.table_of(position - 1), codes], matrix, seen)
            x = x + seen
        return x + self.start + weights.positions[position]


def _repeated(bias: Array, batch: int) -> Array:
    return np.repeat(bias[None], batch, axis=0)


def _array(weights: Tensor) -> Array:
    array: Array = weights.detach().float().contiguous().numpy()
    return array


def _parts(layer: nn.Module) -> tuple[Array, Array]:
    """The weight of a layer, [I, O] for a product, and its bias."""
    assert isinstance(layer, nn.Linear | nn.LayerNorm)
    return _array(layer.weight.T if isinstance(layer, nn.Linear) else layer.weight), _array(layer.bias)
