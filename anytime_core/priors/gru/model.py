"""Gated recurrent units over codes, the core of WaveRNN (Kalchbrenner et al., "Efficient Neural Audio Synthesis", 2018).

W is the width, n a prefix length.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anytime_core.priors.gru.config import GRUConfig
from anytime_core.priors.gru.dual import DualSoftmax
from anytime_core.priors.gru.incremental import IncrementalGRU, gated
from anytime_core.priors.sequence.incremental import IncrementalNetwork
from anytime_core.priors.sequence.model import SequencePrior, initialise_ends
from anytime_core.quantizers.base import CodeSpec


class GRUPrior(SequencePrior):
    """See `SequencePrior`; the network is a stack of `torch.nn.GRU`, with a layer of rectified units after it.

    The first state is zero: the input at position 0, which is learned, gives any state after it.

    Args:
        config: sizes, dropout, and how many softmax layers there are.
        spec, code_vectors: see `Prior`.
    """

    kind = "gru"
    Config = GRUConfig
    config: GRUConfig

    def __init__(self, config: GRUConfig, spec: CodeSpec, code_vectors: Tensor | None = None) -> None:
        super().__init__(
            config, spec, code_vectors, width=config.width, vectors_at_output=not config.dual_softmax
        )
        # Layers by themselves, as cuDNN's own dropout between layers has random numbers that a checkpoint does not keep.
        self.recurrent = nn.ModuleList(
            nn.GRU(config.width, config.width, batch_first=True) for _ in range(config.layers)
        )
        self.dropout = nn.Dropout(config.dropout)
        self.to_features = nn.Linear(config.width, config.width)
        self.dual = DualSoftmax(spec, config.width // 2 or 1) if config.dual_softmax else None
        self.add_head(self.dual.inputs if self.dual else None)
        self._initialise()

    @property
    def kept_numbers(self) -> int:
        """See `Prior`: the state."""
        return self.config.layers * self.config.width

    def features(self, inputs: Tensor) -> Tensor:
        """See `SequencePrior`."""
        x = inputs
        for layer in self.recurrent:
            x = self._recurred(layer, self.dropout(x))
        return self.dropout(F.relu(self.to_features(x)))

    def incremental(self, dtype: torch.dtype) -> IncrementalNetwork:
        """See `SequencePrior`."""
        return IncrementalGRU(self, dtype)

    def logits(self, features: Tensor) -> Tensor:
        """See `SequencePrior`."""
        outputs = super().logits(features)
        return outputs if self.dual is None else self.dual(outputs)

    def log_prob(self, codes: Tensor, labels: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """See `Prior`; of a dual softmax, only the fine digits that go with the true coarse one are looked at."""
        if self.dual is None:
            return super().log_prob(codes, labels, generator)
        return self.dual.log_prob(super().logits(self.features(self.inputs(codes[:, :-1], labels))), codes)

    def _recurred(self, layer: nn.Module, x: Tensor) -> Tensor:
        """[B, n, W] -> the states of a layer, [B, n, W]."""
        assert isinstance(layer, nn.GRU)
        with torch.autocast(x.device.type, enabled=False):  # it would have cuDNN take float16, whatever was asked for
            x = x.float()
            if self.training:
                return layer(x)[0]
            # Written out, as engines are: cuDNN would round what it multiplies.
            state, states = torch.zeros_like(x[:, 0]), []
            for products in F.linear(x, layer.weight_ih_l0, layer.bias_ih_l0).unbind(1):
                state = gated(products, F.linear(state, layer.weight_hh_l0, layer.bias_hh_l0), state)
                states.append(state)
            return torch.stack(states, 1)

    def _initialise(self) -> None:
        """Recurrent matrices keep the length of a state at first, and all logits are near zero."""
        initialise_ends(self, 0.5)
        for layer in self.recurrent:
            for gate in layer.weight_hh_l0.chunk(3):
                nn.init.orthogonal_(gate)
            for gate in layer.weight_ih_l0.chunk(3):
                nn.init.xavier_uniform_(gate)
            nn.init.zeros_(layer.bias_ih_l0)
            nn.init.zeros_(layer.bias_hh_l0)
