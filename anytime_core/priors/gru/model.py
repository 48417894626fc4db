"""Gated recurrent units over codes, as in WaveRNN (Kalchbrenner et al., "Efficient Neural Audio Synthesis", ICML 2018).

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
from anytime_core.priors.sequence.model import IncrementalPrior, initialise_ends
from anytime_core.priors.sequence.weights import EndWeights, fold_ends
from anytime_core.quantizers.base import CodeSpec


class GRUPrior(IncrementalPrior):
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
        super().__init__(config, spec, code_vectors, width=config.width, vectors_at_output=not config.dual_softmax)
        self.layers = nn.ModuleList(GRULayer(config.width) for _ in range(config.layers))
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
        for layer in self.layers:
            x = layer(self.dropout(x))
        return self.dropout(F.relu(self.to_features(x)))

    def ends(self, dtype: torch.dtype) -> EndWeights:
        """See `IncrementalPrior`. What the first layer makes of its inputs is folded into them."""
        first = self.recurrent()[0]
        return fold_ends(self, dtype, first=(first.weight_ih_l0, first.bias_ih_l0))

    def incremental(self, dtype: torch.dtype) -> IncrementalNetwork:
        """See `IncrementalPrior`."""
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

    def recurrent(self) -> list[GRULayer]:
        """The recurrent layers, the first one first."""
        return [layer for layer in self.layers if isinstance(layer, GRULayer)]

    def _initialise(self) -> None:
        """Recurrent matrices keep the length of a state at first, and all logits are near zero."""
        initialise_ends(self, 0.5)
        nn.init.xavier_uniform_(self.head.weight)
        for layer in self.recurrent():
            for gate in layer.weight_hh_l0.chunk(3):
                nn.init.orthogonal_(gate)
            for gate in layer.weight_ih_l0.chunk(3):
                nn.init.xavier_uniform_(gate)
            nn.init.zeros_(layer.bias_ih_l0)
            nn.init.zeros_(layer.bias_hh_l0)


class GRULayer(nn.GRU):
    """One layer of `torch.nn.GRU`, from a state of zeros.

    A layer by itself, since the dropout that cuDNN has between layers keeps random numbers of its own.

    Args:
        width: W, of inputs and states.
    """

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(self, width: int) -> None:
        super().__init__(width, width, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Inputs [B, n, W] -> states [B, n, W]."""
        if self.training and not x.is_cuda:
            return self._fused(x)
        with torch.autocast(x.device.type, enabled=False):  # cuDNN would take float16, even where bfloat16 is asked for
            return self._fused(x.float()) if self.training else self._unrolled(x.float())

    def _fused(self, x: Tensor) -> Tensor:
        states: Tensor = super().forward(x)[0]  # type: ignore[has-type]
        return states

    def _unrolled(self, x: Tensor) -> Tensor:
        """The same, written out: engines are held equal to it, and cuDNN rounds what it multiplies."""
        state, states = torch.zeros_like(x[:, 0]), []
        for from_input in F.linear(x, self.weight_ih_l0, self.bias_ih_l0).unbind(1):
            state = gated(from_input, F.linear(state, self.weight_hh_l0, self.bias_hh_l0), state)
            states.append(state)
        return torch.stack(states, 1)
