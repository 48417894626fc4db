"""Kernels whose results are the same bits on every machine, compiled by numba on first use and kept on disk.

Every number is computed in one order of plain additions, multiplications, divisions and square roots, which IEEE 754
defines to the bit. The compiler may neither fuse nor reorder them, as there is no `fastmath`. The machine's own
libraries are not used, as their exponentials and products differ. The innermost loops are over outputs, so that vector
units can compute several outputs at a time, each in its order.

m is the number of places for keys of a sequence, L the number of layers, W the width, H the number of heads, E = W / H,
G the number of key-value heads, F the width of the feed-forward layer; I and O are the inputs and outputs of a product.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from anytime_core.priors.sequence.kernels import Array, add_product

_ZERO, _HALF, _ONE = np.float32(0), np.float32(0.5), np.float32(1)
_LEAST_EXPONENT = np.float32(-87)  # e to this is still a normal number
_LOG2_E = np.float32(1.4426950408889634)
_LN2_HIGH, _LN2_LOW = (
    np.float32(0.693359375),
    np.float32(-2.12194440e-4),
)  # the first has few digits: products are exact
_POWERS = np.ldexp(np.float32(1), -np.arange(127))  # of 2
_TAYLOR = np.array([1 / math.factorial(power) for power in range(7, -1, -1)], dtype=np.float32)
_ERF = np.array([1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592], dtype=np.float32)
_ERF_SLOPE = np.float32(0.3275911)
_SQRT_HALF = np.float32(math.sqrt(0.5))


@numba.njit(cache=True, nogil=True)
def exponential(x: np.float32) -> np.float32:
    """e to the power of x <= 0, within 3e-7 of its value; 0 below -87."""
    if x < _LEAST_EXPONENT:
        return _ZERO
    power = np.int32(_HALF - x * _LOG2_E)
    halvings = np.float32(power)
    rest = (x + halvings * _LN2_HIGH) + halvings * _LN2_LOW
    total = _TAYLOR[0]
    for index in range(1, 8):
        total = total * rest + _TAYLOR[index]
    return total * _POWERS[power]


@numba.njit(cache=True, nogil=True)
def gelu(x: np.float32) -> np.float32:
    """x times the cumulative normal distribution (Abramowitz and Stegun 7.1.26), within 3e-7 max(1, |x|)."""
    scaled = abs(x) * _SQRT_HALF
    t = _ONE / (_ONE + _ERF_SLOPE * scaled)
    total = _ERF[0]
    for index in range(1, 5):
        total = total * t + _ERF[index]
    tail = _HALF * (total * t * exponential(-scaled * scaled))
    return x * (_ONE - tail if x > _ZERO else tail)


@numba.njit(cache=True, nogil=True)
def normalise(x: Array, weight: Array, bias: Array, epsilon: np.float32, out: Array) -> None:
    """Layer normalisation of x [B, W] -> out [B, W]."""
    width = np.float32(x.shape[1])
    for row in range(x.shape[0]):
        mean = _ZERO
        for i in range(x.shape[1]):
            mean += x[row, i]
        mean /= width
        variance = _ZERO
        for i in range(x.shape[1]):
            variance += (x[row, i] - mean) * (x[row, i] - mean)
        scale = _ONE / np.sqrt(variance / width + epsilon)
        for i in range(x.shape[1]):
            out[row, i] = (x[row, i] - mean) * scale * weight[i] + bias[i]


@numba.njit(cache=True, nogil=True)
def _affine(x: Array, weight: Array, bias: Array, out: Array) -> None:
    """x [B, I] times weight [I, O] plus bias [O] -> out [B, O]."""
    for row in range(out.shape[0]):
        out[row] = bias
    add_product(x, weight, out)


@numba.njit(cache=True, nogil=True)
def _attend(
    projected: Array,
    keys: Array,
    values: Array,
    first_place: int,
    last_place: int,
    scale: np.float32,
    scores: Array,
    out: Array,
) -> None:
    """Projected [B, W + 2 G E], keys [B, G, E, m] and values [B, G, m, E] of a layer -> [B, W].

    It writes a key and a value at the last place and attends to all from the first to the last.
    """
    batch, groups, size, _ = keys.shape
    width = out.shape[1]
    shared = width // (groups * size)
    for row in range(batch):
        for group in range(groups):
            first = width + group * size
            for e in range(size):
                keys[row, group, e, last_place] = projected[row, first + e]
                values[row, group, last_place, e] = projected[row, first + groups * size + e]
        for head in range(groups * shared):
            group, first = head // shared, head * size
            scores[first_place : last_place + 1] = _ZERO
            for e in range(size):
                query = projected[row, first + e] * scale
                for j in range(first_place, last_place + 1):
                    scores[j] += query * keys[row, group, e, j]
                out[row, first + e] = _ZERO
            largest = scores[first_place]
            for j in range(first_place + 1, last_place + 1):
                largest = max(largest, scores[j])
            total = _ZERO
            for j in range(first_place, last_place + 1):
                scores[j] = exponential(scores[j] - largest)
                total += scores[j]
            for j in range(first_place, last_place + 1):
                share = scores[j] / total
                for e in range(size):
                    out[row, first + e] += share * values[row, group, j, e]


@numba.njit(cache=True, nogil=True)
def exact_step(x, places, layers, last, keys, values, scale, epsilon, buffers):  # type: ignore[no-untyped-def]
    """Run one position through the blocks: x [B, W], which is overwritten -> buffers[0], normalised, [B, W].

    Args:
        x: the input of the first block.
        places: [L, 2], where the position's keys are written and read, see `Pattern.places`.
        layers: six pairs, weight and bias of each layer [L, ...]: normalisation, to queries, keys and values,
            project, normalisation, expand, shrink; weights of products are [L, I, O].
        last: weight and bias [W] of the last normalisation.
        keys, values: [L, B, G, E, m] and [L, B, G, m, E].
        scale: the scale of the queries.
        epsilon: the epsilon of the normalisations.
        buffers: normalised [B, W], projected [B, W + 2 G E], hidden [B, F], scores [m].
    """
    normalised, projected, hidden, scores = buffers
    before, to_queries_keys_values, project, between, expand, shrink = layers
    for layer in range(keys.shape[0]):
        normalise(x, before[0][layer], before[1][layer], epsilon, normalised)
        _affine(normalised, to_queries_keys_values[0][layer], to_queries_keys_values[1][layer], projected)
        first, last_place = places[layer]
        _attend(projected, keys[layer], values[layer], first, last_place, scale, scores, normalised)
        _add(x, project[1][layer])
        add_product(normalised, project[0][layer], x)
        normalise(x, between[0][layer], between[1][layer], epsilon, normalised)
        _affine(normalised, expand[0][layer], expand[1][layer], hidden)
        for row in range(hidden.shape[0]):
            for i in range(hidden.shape[1]):
                hidden[row, i] = gelu(hidden[row, i])
        _add(x, shrink[1][layer])
        add_product(hidden, shrink[0][layer], x)
    normalise(x, last[0], last[1], epsilon, normalised)


@numba.njit(cache=True, nogil=True)
def _add(x: Array, bias: Array) -> None:
    """Add bias [W] to every row of x [B, W]."""
    for row in range(x.shape[0]):
        for i in range(x.shape[1]):
            x[row, i] += bias[i]
