"""A step of MADE on the CPU, compiled by numba on first use and kept on disk.

L is the hidden layers, E the numbers of an input, U the most units of one degree in a layer, F the features of a
position; I and O are the inputs and outputs of a product.
"""

from __future__ import annotations

import numba
import numpy as np

from anytime_core.priors.sequence.kernels import dot, embed, to_logits

_ZERO = np.float32(0)


@numba.njit(cache=True, nogil=True)
def _product(state, first, known, weight, bias, out):  # type: ignore[no-untyped-def]
    """`known` inputs, in state [B, ...] from `first` on, times weight [O, I] plus bias [O] -> out [B, O]."""
    for o in range(weight.shape[0]):
        for row in range(state.shape[0]):
            out[row, o] = bias[o] + dot(weight[o, :known], state[row, first : first + known])


@numba.njit(cache=True, nogil=True)
def step(codes, position, first_input, ends, weights, state, buffers):  # type: ignore[no-untyped-def]
    """See `CompiledNetwork`. Units of a degree that are not there have zeros as weights.

    Args:
        codes, position, first_input, ends: see there.
        weights: of each degree: of the first hidden layer [N, U, N E] and [N, U], of the others [L - 1, N, U, N U] and
            [L - 1, N, U], of the last layer [N, F, N U] and [N, F], of direct connections [N or 0, F, N E].
        state: inputs [B, N E], hidden units [B, L N U].
        buffers: input [B, E], hidden units of a degree [B, U], features [B, F], direct features [B, F], logits [B, K].
    """
    first, first_bias, others, other_biases, last, last_bias, direct = weights
    inputs, hidden = state
    x, units, features, directly, logits = buffers
    embed(codes, position, first_input, ends, x)
    known_inputs, known_units = (position + 1) * x.shape[1], (position + 1) * units.shape[1]
    inputs[:, known_inputs - x.shape[1] : known_inputs] = x
    _product(inputs, 0, known_inputs, first[position], first_bias[position], units)
    layers, of_layer = len(others) + 1, last.shape[2]
    for layer in range(layers):
        if layer:
            before, weight, bias = (
                (layer - 1) * of_layer,
                others[layer - 1, position],
                other_biases[layer - 1, position],
            )
            _product(hidden, before, known_units, weight, bias, units)
        begin = layer * of_layer + known_units - units.shape[1]
        for row in range(units.shape[0]):
            for i in range(units.shape[1]):
                hidden[row, begin + i] = max(units[row, i], _ZERO)
    _product(hidden, (layers - 1) * of_layer, known_units, last[position], last_bias[position], features)
    if len(direct):
        _product(inputs, 0, known_inputs, direct[position], np.zeros(features.shape[1], np.float32), directly)
        features += directly
    to_logits(features, position, ends, logits)
