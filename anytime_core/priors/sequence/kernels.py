"""Kernels of steps on the CPU, which several priors have in common, compiled by numba with the kernels that call them.

Numba does not notice that a kernel of another module was changed: after a change here, remove what it has kept
(`__pycache__/*.nbi`) beside the modules that import this one.

W is the width of inputs, F the number of features of a position; I and O are the inputs and outputs of a product.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

_BLOCK = 256
"""Outputs whose weights stay in the cache from one sequence to the next."""
_RUN = 32
"""Inputs that are summed before their sum is added to the others'."""
_ZERO = np.float32(0)


@numba.njit(cache=True, nogil=True)
def add_product(x: Array, weight: Array, out: Array) -> None:
    """Add x [B, I] times weight [I, O] to out [B, O]: sums of a run of inputs after the other, each in its order.

    Many short sums round less than one long sum. There is no `fastmath`, so that the results are the same bits on every
    machine. It suits many outputs.
    """
    inputs, outputs = weight.shape
    partial = np.empty(_BLOCK, np.float32)
    for first in range(0, outputs, _BLOCK):
        part = slice(first, min(first + _BLOCK, outputs))
        sums = partial[: part.stop - first]
        for row in range(x.shape[0]):
            totals = out[row, part]
            for begin in range(0, inputs, _RUN):
                sums[:] = _ZERO
                end = min(begin + _RUN, inputs)
                whole = end - (end - begin) % 4
                for i in range(begin, whole, 4):
                    a, b, c, d = x[row, i], x[row, i + 1], x[row, i + 2], x[row, i + 3]
                    to_a, to_b, to_c, to_d = (
                        weight[i, part],
                        weight[i + 1, part],
                        weight[i + 2, part],
                        weight[i + 3, part],
                    )
                    for o in range(len(sums)):
                        sums[o] = (((sums[o] + a * to_a[o]) + b * to_b[o]) + c * to_c[o]) + d * to_d[o]
                for i in range(whole, end):
                    a, to_a = x[row, i], weight[i, part]
                    for o in range(len(sums)):
                        sums[o] += a * to_a[o]
                for o in range(len(sums)):
                    totals[o] += sums[o]


@numba.njit(fastmath=True, cache=True, nogil=True)
def dot(weight, x):  # type: ignore[no-untyped-def]
    """Weight [I] of any type times x [I], in float32. It suits products of few outputs and many inputs."""
    total = np.float32(0)
    for i in range(len(x)):
        total += np.float32(weight[i]) * x[i]
    return total


@numba.njit(cache=True, nogil=True)
def embed(codes, position, first_input, ends, out):  # type: ignore[no-untyped-def]
    """The input at a position -> out [B, W].

    Args:
        codes: int64 [B], the codes at `position - 1`; at position 0 anything.
        position: the position.
        first_input: [B, W].
        ends: see `CompiledEnds`.
        out: where it is written.
    """
    positions, tables, _, _ = ends
    table = tables[(position - 1) if len(tables) > 1 else 0]
    for row in range(out.shape[0]):
        for i in range(out.shape[1]):
            out[row, i] = first_input[row, i] + positions[position, i]
        if position:
            embedded = table[codes[row]]
            for i in range(out.shape[1]):
                out[row, i] += embedded[i]


@numba.njit(cache=True, nogil=True)
def to_logits(features, position, ends, out):  # type: ignore[no-untyped-def]
    """Features [B, F] at a position -> logits, out [B, K]; `ends` as `embed` has them."""
    _, _, matrices, biases = ends
    number = position if len(matrices) > 1 else 0
    for row in range(out.shape[0]):
        out[row] = biases[number]
    add_product(features, matrices[number], out)
