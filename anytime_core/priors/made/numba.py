"""MADE on the CPU, a step of a small batch as one call of a compiled kernel."""

from __future__ import annotations

import numpy as np
import torch

from anytime_core.errors import UsageError
from anytime_core.priors.made.incremental import DegreeNetwork
from anytime_core.priors.made.kernels import step
from anytime_core.priors.made.model import MADEPrior
from anytime_core.priors.sequence.numba import CompiledNetwork, NumbaEngine, array


class MADEEngine(NumbaEngine):
    """See `Engine`. Raises UsageError for a prior of several assignments."""

    @staticmethod
    def compiled(prior: MADEPrior) -> CompiledNetwork:
        """See `NumbaEngine`."""
        sizes, length = prior.config, prior.code_length
        if sizes.masks > 1:
            raise UsageError(f"engine 'numba' has no prior.masks={sizes.masks}, only 1: use --engine eager")
        network = DegreeNetwork(prior, 0, torch.float32)
        first, *others = network.layers
        units = first.biases.shape[1]
        direct = torch.zeros(0, 1, 1) if network.direct is None else network.direct.weights
        return CompiledNetwork(
            step,
            weights=(
                array(first.weights.mT),
                array(first.biases),
                np.array([array(layer.weights.mT) for layer in others], np.float32).reshape(
                    -1, length, units, length * units
                ),
                np.array([array(layer.biases) for layer in others], np.float32).reshape(-1, length, units),
                array(network.last.weights.mT),
                array(network.last.biases),
                array(direct.mT),
            ),
            state=[(length * sizes.embedding,), (sizes.layers * length * units,)],
            buffers=[(sizes.embedding,), (units,), (sizes.features,), (sizes.features,)],
        )
