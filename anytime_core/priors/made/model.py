"""Masked autoencoder for distribution estimation (Germain et al., "MADE", ICML 2015).

The input at position j, which tells of code j - 1, has degree j. Each hidden unit has a degree too, and is connected to
what has at most its degree. The features of position i are connected to hidden units of degree i at most, so that they
depend on the inputs at positions 0..i, and on no others.

n is a number of positions, E the numbers of an input, H the units of a hidden layer, F the features of a position, M
the number of assignments of degrees to hidden units.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from anytime_core.priors.made.config import MADEConfig
from anytime_core.priors.made.incremental import AveragedNetworks, DegreeNetwork, averaged
from anytime_core.priors.made.masked import MaskedLinear, assigned_degrees, connections
from anytime_core.priors.sequence.choice import compiled_step_pays
from anytime_core.priors.sequence.incremental import IncrementalNetwork
from anytime_core.priors.sequence.model import IncrementalPrior, initialise_ends
from anytime_core.priors.stepping import EngineMaker, ImportedEngine
from anytime_core.quantizers.base import CodeSpec
from anytime_core.transfer import to_device


class MADEPrior(IncrementalPrior):
    """See `SequencePrior`; the network is a masked autoencoder.

    With `config.masks` > 1 the units of the same weights have M assignments of degrees (connectivity-agnostic training
    of the paper). A training step uses one, drawn at random, and the probabilities of a code are the mean over all.
    The order of the codes is always the same, since a budget draws the first ones.

    Args:
        config: sizes, dropout and masks.
        spec, code_vectors: see `Prior`.
    """

    kind = "made"
    Config = MADEConfig
    config: MADEConfig
    degrees: Tensor

    def __init__(self, config: MADEConfig, spec: CodeSpec, code_vectors: Tensor | None = None) -> None:
        super().__init__(config, spec, code_vectors, width=config.embedding, features=config.features)
        inputs, outputs = spec.length * config.embedding, spec.length * config.features
        degrees = assigned_degrees(spec.length, config.hidden, config.layers, config.masks)
        self.register_buffer("degrees", degrees, persistent=False)  # [M, layers, H]
        self.dropout = nn.Dropout(config.dropout)
        sizes = [inputs] + [config.hidden] * config.layers
        layers = [MaskedLinear(*pair) for pair in itertools.pairwise(sizes)]
        self.layers = nn.ModuleList(layers)
        self.last = MaskedLinear(config.hidden, outputs)
        self.direct = MaskedLinear(inputs, outputs, bias=False) if config.direct else None
        self.add_head()
        self._initialise(layers)

    def _initialise(self, layers: list[MaskedLinear]) -> None:
        """Keep the scale of inputs, whatever number of connections a unit has (He et al. 2015)."""
        initialise_ends(self, std=0.5)
        positions = torch.arange(self.code_length)
        before = positions.repeat_interleave(self.config.embedding).expand(self.config.masks, -1)
        outputs = positions.repeat_interleave(self.config.features).expand(self.config.masks, -1)
        for layer, degrees in zip(layers, self.degrees.unbind(1), strict=True):
            layer.initialise(_connected(before, degrees), gain=2.0)
            before = degrees
        self.last.initialise(_connected(before, outputs), gain=1.0)

    @property
    def multiply_adds(self) -> float:
        """See `Prior`: all steps together cost one pass through the layers."""
        layers = (layer for layer in self.modules() if isinstance(layer, MaskedLinear))
        passed = sum(layer.weight.numel() for layer in layers) / self.code_length
        return float(self.config.masks * (passed + self.head.weight.numel()))

    @classmethod
    def engines(cls) -> Mapping[str, EngineMaker]:
        """See `CausalPrior`. The module of engine `numba` is imported when it is made."""
        return {**super().engines(), "numba": ImportedEngine("anytime_core.priors.made.numba:MADEEngine")}

    def fastest_engine(self, precision: str, batch: int, multiply_adds: float) -> str:
        """See `Prior`."""
        steps = multiply_adds / (batch * self.multiply_adds)
        if self.config.masks == 1 and compiled_step_pays(
            self.device, precision, batch, steps, Path(__file__).parent / "kernels.py"
        ):
            return "numba"
        return super().fastest_engine(precision, batch, multiply_adds)

    @property
    def kept_numbers(self) -> int:
        """See `Prior`: inputs and hidden units."""
        hidden = self.config.masks * self.config.layers * self.config.hidden
        return self.code_length * self.config.embedding + hidden

    def draws(self, batch: int) -> dict[str, Tensor]:
        """See `Prior`: the number of an assignment, int64 [1], if there are several."""
        return {"assignment": torch.randint(self.config.masks, (1,))} if self.config.masks > 1 else {}

    def forward(self, codes: Tensor, labels: Tensor | None, draws: Mapping[str, Tensor] | None = None) -> Tensor:
        """The training loss of each sequence in nats per code, [B]; with one assignment of several in training mode."""
        if not self.training or self.config.masks == 1:
            return super().forward(codes, labels)
        if draws is None:
            draws = {name: to_device(value, codes.device) for name, value in self.draws(len(codes)).items()}
        degrees = self.degrees.index_select(0, draws["assignment"])[0]
        logits = super().logits(self.masked_features(self.inputs(codes[:, :-1], labels), degrees))
        return -self.distribution.log_prob(logits, codes).mean(1)

    def features(self, inputs: Tensor) -> Tensor:
        """Inputs [B, n, E] -> features [M B, n, F], those of each assignment one after another."""
        return torch.cat([self.masked_features(inputs, degrees) for degrees in self.degrees])

    def logits(self, features: Tensor) -> Tensor:
        """Features [M B, n, F] -> logits [B, n, K] of the mean of the probabilities of all assignments."""
        return averaged(super().logits(features), self.config.masks)

    def incremental(self, dtype: torch.dtype) -> IncrementalNetwork:
        """See `IncrementalPrior`."""
        networks = [DegreeNetwork(self, number, dtype) for number in range(self.config.masks)]
        return networks[0] if len(networks) == 1 else AveragedNetworks(networks)

    def masked_features(self, inputs: Tensor, degrees: Tensor) -> Tensor:
        """Inputs [B, n, E] and degrees of hidden units [layers, H] -> features [B, n, F]."""
        n = inputs.shape[1]
        positions = torch.arange(n, device=inputs.device)
        of_inputs = positions.repeat_interleave(self.config.embedding)
        of_features = positions.repeat_interleave(self.config.features)
        x = known = self.dropout(inputs).flatten(1)
        before = of_inputs
        for layer, own in zip(self.layers, degrees, strict=True):
            x = self.dropout(layer(x, connections(before, own)).relu())
            before = own
        features: Tensor = self.last(x, connections(before, of_features))
        if self.direct is not None:
            features = features + self.direct(known, connections(of_inputs, of_features))
        return features.unflatten(1, (n, -1))


def _connected(inputs: Tensor, outputs: Tensor) -> Tensor:
    """How many inputs each output is connected to, [O], in the mean over assignments; degrees [M, I] and [M, O]."""
    masks = [connections(*pair) for pair in zip(inputs, outputs, strict=True)]
    return torch.stack(masks).float().mean(0).sum(1)
