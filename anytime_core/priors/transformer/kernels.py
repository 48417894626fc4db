"""Kernels of a step for small batches on the CPU, compiled by numba on first use and kept on disk.

A small batch reads every weight once per step and does little with it. So a step is bound by memory and, for a small
network, by the cost of starting operators. Here a step is one call.

m is the number of places for keys of a sequence, L the number of layers, W the width, H the number of heads, E = W / H,
G the number of key-value heads, F the width of the feed-forward layer; I and O are the inputs and outputs of a product.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from anytime_core.priors.sequence.kernels import Array, dot

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
                total = dot(weight[o], x[row]) * scale[o] + bias[o]
                if kind == _GELU:
                    total *= np.float32(0.5) + np.float32(0.5) * np.float32(math.erf(total * _SQRT_HALF))
                if kind == _ADD:
                    total += out[row, o]
                out[row, o] = total


@numba.njit(fastmath=True, cache=True, nogil=True)
def attend(projected: Array, keys: Array, values: Array, first: int, last: int, scores: Array, out: Array) -> None:
    """Projected [B, H + 2 G, E] and the buffers of a layer [B, m, G, E], in which it writes place `last` -> [B, H, E].

    It attends to all places from `first` to `last`. Large batches are bound by the rate of memory. So what is read of a
    sequence lies in one piece, and is read once. `scores` is [H, m].
    """
    batch, _, groups, size = keys.shape
    heads = out.shape[1]
    shared = heads // groups
    for row in range(batch):
        for group in range(groups):
            for e in range(size):
                keys[row, last, group, e] = projected[row, heads + group, e]
                values[row, last, group, e] = projected[row, heads + groups + group, e]
        for j in range(first, last + 1):
            for group in range(groups):
                for head in range(group * shared, (group + 1) * shared):
                    score = np.float32(0)
                    for e in range(size):
                        score += projected[row, head, e] * keys[row, j, group, e]
                    scores[head, j] = score
        for head in range(heads):
            largest = _LEAST
            for j in range(first, last + 1):
                largest = max(largest, scores[head, j])
            total = np.float32(0)
            for j in range(first, last + 1):
                scores[head, j] = np.exp(scores[head, j] - largest)
                total += scores[head, j]
            for j in range(first, last + 1):
                scores[head, j] /= total
            for e in range(size):
                out[row, head, e] = 0
        for j in range(first, last + 1):
            for group in range(groups):
                for head in range(group * shared, (group + 1) * shared):
                    share = scores[head, j]
                    for e in range(size):
                        out[row, head, e] += share * values[row, j, group, e]


@numba.njit(fastmath=True, cache=True, nogil=True)
def step(x, places, layers, head, keys, values, epsilon, buffers):  # type: ignore[no-untyped-def]
    """Run one position through the whole prior: x [B, W], which is overwritten -> buffers[-1], logits [B, K].

    Args:
        x: the input of the first block.
        places: [L, 2], where the position's keys are written and read, see `Pattern.places`.
        layers: four products, each weight [L, O, I], scale [L, O] and bias [L, O]: to queries, keys and values,
            project, expand, shrink.
        head: weight [K, W], scale [K] and bias [K].
        keys, values: [L, B, m, G, E].
        epsilon: the epsilon of the normalisations.
        buffers: normalised [B, W], projected [B, W + 2 G E], hidden [B, F], scores [H, m], logits [B, K].
    """
    to_queries_keys_values, project, expand, shrink = layers
    normalised, projected, hidden, scores, logits = buffers
    batch, size = len(x), keys.shape[4]
    by_head, attended = projected.reshape(batch, -1, size), normalised.reshape(batch, -1, size)
    for layer in range(keys.shape[0]):
        _normalise(x, epsilon, normalised)
        weight, scale, bias = to_queries_keys_values
        _affine(normalised, weight[layer], scale[layer], bias[layer], _PLAIN, projected)
        first, last = places[layer]
        attend(by_head, keys[layer], values[layer], first, last, scores, attended)
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
