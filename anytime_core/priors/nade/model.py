"""Neural autoregressive distribution estimator (Larochelle and Murray, "NADE", AISTATS 2011).

With x_j the input at position j, which tells of code j - 1, the hidden units and features at position i are

    a_i = c + sum over j <= i of A_j x_j,  h_i = activation(a_i),  f_i = b_i + V_i h_i.

All positions share A and c: what one of them has summed up is kept for the next. The paper's A_j has a column for each
value of a code; here a code's column is A_j times its embedding.

n is a number of positions, E the numbers of an input, H the hidden units, F the features of a position.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from anytime_core.priors.nade.config import NADEConfig
from anytime_core.priors.nade.incremental import AccumulatingNetwork, activate
from anytime_core.priors.sequence.choice import compiled_step_pays
from anytime_core.priors.sequence.incremental import IncrementalNetwork
from anytime_core.priors.sequence.model import IncrementalPrior, initialise_ends
from anytime_core.priors.stepping import EngineMaker, ImportedEngine
from anytime_core.quantizers.base import CodeSpec

_HIDDEN_AT_ONCE = 2**25
"""The most hidden units of all positions and sequences that are in memory together, 128 MiB in float32."""


class NADEPrior(IncrementalPrior):
    """See `SequencePrior`; the network is a neural autoregressive distribution estimator.

    Args:
        config: sizes, activation and dropout.
        spec, code_vectors: see `Prior`.
    """

    kind = "nade"
    Config = NADEConfig
    config: NADEConfig

    def __init__(self, config: NADEConfig, spec: CodeSpec, code_vectors: Tensor | None = None) -> None:
        super().__init__(config, spec, code_vectors, width=config.embedding, features=config.features)
        self.dropout = nn.Dropout(config.dropout)
        self.to_hidden = nn.Parameter(torch.empty(spec.length, config.embedding, config.hidden))  # A, [N, E, H]
        self.hidden_bias = nn.Parameter(torch.zeros(config.hidden))  # c
        self.to_features = nn.Parameter(torch.empty(spec.length, config.hidden, config.features))  # V, [N, H, F]
        self.feature_bias = nn.Parameter(torch.zeros(spec.length, config.features))  # b
        self.add_head()
        initialise_ends(self, std=0.5)
        nn.init.normal_(self.to_hidden, std=(2 / (config.embedding * spec.length)) ** 0.5)
        nn.init.normal_(self.to_features, std=config.hidden**-0.5)

    @property
    def multiply_adds(self) -> float:
        """See `Prior`."""
        network = self.to_hidden[0].numel() + self.to_features[0].numel()
        return float(network + self.head.weight.numel())

    @classmethod
    def engines(cls) -> Mapping[str, EngineMaker]:
        """See `CausalPrior`. The module of engine `numba` is imported when it is made."""
        return {**super().engines(), "numba": ImportedEngine("anytime_core.priors.nade.numba:NADEEngine")}

    def fastest_engine(self, precision: str, batch: int, multiply_adds: float) -> str:
        """See `Prior`."""
        steps = multiply_adds / (batch * self.multiply_adds)
        if compiled_step_pays(self.device, precision, batch, steps, Path(__file__).parent / "kernels.py"):
            return "numba"
        return super().fastest_engine(precision, batch, multiply_adds)

    @property
    def kept_numbers(self) -> int:
        """See `Prior`: the sums."""
        return self.config.hidden

    def features(self, inputs: Tensor) -> Tensor:
        """See `SequencePrior`. Large batches go through in parts, of which no hidden units are kept for training."""
        inputs = self.dropout(inputs)
        rows = max(1, _HIDDEN_AT_ONCE // (inputs.shape[1] * self.config.hidden))
        if len(inputs) <= rows:
            return self.dropout(self._features_of_rows(inputs))
        parts = [
            checkpoint(self._features_of_rows, part, use_reentrant=False, preserve_rng_state=False)
            for part in inputs.split(rows)
        ]
        return self.dropout(torch.cat(parts))

    def _features_of_rows(self, inputs: Tensor) -> Tensor:
        n = inputs.shape[1]
        sums = torch.einsum("bne,neh->bnh", inputs, self.to_hidden[:n]).cumsum(1)
        hidden = activate(sums + self.hidden_bias, self.config.activation)
        return torch.einsum("bnh,nhf->bnf", hidden, self.to_features[:n]) + self.feature_bias[:n]

    def incremental(self, dtype: torch.dtype) -> IncrementalNetwork:
        """See `IncrementalPrior`."""
        return AccumulatingNetwork(self, dtype)
