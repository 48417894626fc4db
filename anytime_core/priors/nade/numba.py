"""NADE on the CPU, a step of a small batch as one call of a compiled kernel."""

from __future__ import annotations

from anytime_core.priors.nade.kernels import step
from anytime_core.priors.nade.model import NADEPrior
from anytime_core.priors.sequence.numba import CompiledNetwork, NumbaEngine, array


class NADEEngine(NumbaEngine):
    """See `Engine`."""

    @staticmethod
    def compiled(prior: NADEPrior) -> CompiledNetwork:
        """See `NumbaEngine`."""
        sizes = prior.config
        parts = (prior.to_hidden, prior.hidden_bias, prior.to_features.mT, prior.feature_bias)
        return CompiledNetwork(
            step,
            weights=(*map(array, parts), sizes.activation == "sigmoid"),
            state=[(sizes.hidden,)],
            buffers=[(sizes.embedding,), (sizes.hidden,), (sizes.features,)],
        )
