"""Kernels of a step for small batches on the CPU, compiled by numba on first use and kept on disk.

A small batch reads every weight once per step and does little with it. So a step is bound by memory and, for a small
network, by the cost of starting operators. Here a step is one call.

n is the number of codes to draw, L the number of layers, W the width, H the number of heads, E = W / H, G the number of
key-value heads, F the width of the feed-forward layer; I and O are the inputs and outputs of a product.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_PLAIN, _GELU, _ADD = 0, 1, 2
_SQRT_HALF = np.float32(math.sqrt(0.5))
_LEAST = np.finfo(np.float32).min  # fast arithmetic has no infinity
_ROWS = 8
"""The number of rows of weights that a thread takes at a time."""


@numba.njit(fastmath=True, cache=True, nogil=True)
def _normalise(x: Array, epsilon: float, out: Array) -> None:
    for row in range(x.shape[0]):
        mean = np.float32(0)
        for i in range(x.shape[1]):
            mean += x[row, i]
        mean /= np.float32(x.shape[1])
        variance = np.float32(0)
        for i in range(x.shape[1]):
            variance += (x[row, i] - mean) ** 2
        scale = np.float32(1) / np.sqrt(variance / np.float32(x.shape[1]) + np.float32(epsilon))
        for i in range(x.shape[1]):
            out[row, i] = (x[row, i] - mean) * scale


@numba.njit(fastmath=True, cache=True, nogil=True, parallel=True)
def _affine(x, weight, scale, bias, kind, out):  # type: ignore[no-untyped-def]
    """x [B, I] times weight [O, I], whose rows are scaled by `scale` [O], plus bias [O] -> out [B, O].

    A row of weights is read once for the whole batch. `kind` is _PLAIN, _GELU, or _ADD, which adds to `out`.
    """
    outputs = weight.shape[0]
    for block in numba.prange((outputs + _ROWS - 1) // _ROWS):
        for o in range(block * _ROWS, min((block + 1) * _ROWS, outputs)):
            for row in range(x.shape[0]):
                total = np.float32(0)
                for i in range(x.shape[1]):
                    total += np.float32(weight[o, i]) * x[row, i]
                total = total * scale[o] + bias[o]
                if kind == _GELU:
                    total *= np.float32(0.5) + np.float32(0.5) * np.float32(math.erf(total * _SQRT_HALF))
                if kind == _ADD:
                    total += out[row, o]
                out[row, o] = total


@numba.njit(fastmath=True, cache=True, nogil=True)
def _attend(projected: Array, keys: Array, values: Array, position: int, scores: Array, out: Array) -> None:
    """Projected [B, W + 2 G E] and the buffers of a layer [B, G, n, E], which it extends -> [B, W]."""
    batch, groups, _, size = keys.shape
    width = out.shape[1]
    shared = width // (groups * size)
    for row in range(batch):
        for group in range(groups):
            first = width + group * size
            for e in range(size):
                keys[row, group, position, e] = projected[row, first + e]
                values[row, group, position, e] = projected[row, first + groups * size + e]
        for head in range(groups * shared):
            group, first = head // shared, head * size
            for e in range(size):
                out[row, first + e] = 0
            largest = _LEAST
            for j in range(position + 1):
                score = np.float32(0)
                for e in range(size):
                    score += projected[row, first + e] * keys[row, group, j, e]
                scores[j] = score
                largest = max(largest, score)
            total = np.float32(0)
            for j in range(position + 1):
                scores[j] = np.exp(scores[j] - largest)
                total += scores[j]
            for j in range(position + 1):
                share = scores[j] / total
                for e in range(size):
                    out[row, first + e] += share * values[row, group, j, e]


@numba.njit(fastmath=True, cache=True, nogil=True)
def step(x, position, layers, head, keys, values, epsilon, buffers):  # type: ignore[no-untyped-def]
    """Run one position through the whole prior: x [B, W], which is overwritten -> buffers[-1], logits [B, K].

    Args:
        x: the input of the first block.
        position: the position of the code to draw.
        layers: four products, each weight [L, O, I], scale [L, O] and bias [L, O]: to queries, keys and values,
            project, expand, shrink.
        head: weight [K, W], scale [K] and bias [K].
        keys, values: [L, B, G, n, E], written up to `position`.
        epsilon: the epsilon of the normalisations.
        buffers: normalised [B, W], projected [B, W + 2 G E], hidden [B, F], scores [n], logits [B, K].
    """
    to_queries_keys_values, project, expand, shrink = layers
    normalised, projected, hidden, scores, logits = buffers
    for layer in range(keys.shape[0]):
        _normalise(x, epsilon, normalised)
        weight, scale, bias = to_queries_keys_values
        _affine(normalised, weight[layer], scale[layer], bias[layer], _PLAIN, projected)
        _attend(projected, keys[layer], values[layer], position, scores, normalised)
        weight, scale, bias = project
        _affine(normalised, weight[layer], scale[layer], bias[layer], _ADD, x)
        _normalise(x, epsilon, normalised)
        weight, scale, bias = expand
        _affine(normalised, weight[layer], scale[layer], bias[layer], _GELU, hidden)
        weight, scale, bias = shrink
        _affine(hidden, weight[layer], scale[layer], bias[layer], _ADD, x)
    _normalise(x, epsilon, normalised)
    weight, scale, bias = head
    _affine(normalised, weight, scale, bias, _PLAIN, logits)
