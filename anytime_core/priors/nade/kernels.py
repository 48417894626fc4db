"""A step of NADE on the CPU, compiled by numba on first use and kept on disk.

E is the numbers of an input, H the hidden units, F the features of a position.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from anytime_core.priors.sequence.kernels import add_product, dot, embed, to_logits


@numba.njit(cache=True, nogil=True)
def step(codes, position, first_input, ends, weights, state, buffers):  # type: ignore[no-untyped-def]
    """See `CompiledNetwork`.

    Args:
        codes, position, first_input, ends: see there.
        weights: to hidden units [N, E, H] and their bias [H]; to features [N, F, H] and their bias [N, F]; whether
            the activation is the sigmoid.
        state: the sums [B, H].
        buffers: input [B, E], hidden units [B, H], features [B, F], logits [B, K].
    """
    to_hidden, hidden_bias, to_features, feature_bias, sigmoid = weights
    (sums,) = state
    x, hidden, features, logits = buffers
    embed(codes, position, first_input, ends, x)
    add_product(x, to_hidden[position], sums)
    for row in range(hidden.shape[0]):
        for i in range(hidden.shape[1]):
            total = sums[row, i] + hidden_bias[i]
            if sigmoid:
                hidden[row, i] = np.float32(1) / (np.float32(1) + np.float32(math.exp(-total)))
            else:
                hidden[row, i] = max(total, np.float32(0))
    for o in range(features.shape[1]):
        weight = to_features[position, o]
        for row in range(features.shape[0]):
            features[row, o] = feature_bias[position, o] + dot(weight, hidden[row])
    to_logits(features, position, ends, logits)
