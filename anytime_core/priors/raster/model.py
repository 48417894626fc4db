"""Values on a grid in raster order, such as the pixels of a picture or the codes of an encoder's map.

[C, *S] is the shape of the grid, Q the number of channels of the condition, n a prefix length.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from anytime_core.priors.base import CausalPrior
from anytime_core.priors.grid.network import GridNetwork
from anytime_core.priors.grid.stepping import incremental_of
from anytime_core.priors.labels import LabelEmbedding
from anytime_core.priors.raster.config import RasterConfig
from anytime_core.priors.raster.engines import EagerEngine
from anytime_core.priors.stepping import EngineMaker
from anytime_core.quantizers.base import CodeSpec


class RasterPrior(CausalPrior):
    """Models each value given those before it and, if there are classes, a label.

    Args:
        config: the network and its head.
        spec, code_vectors: see `Prior`; code vectors are used where values do not lie on a line.
    """

    kind = "raster"
    Config = RasterConfig
    config: RasterConfig

    def __init__(self, config: RasterConfig, spec: CodeSpec, code_vectors: Tensor | None = None) -> None:
        super().__init__(config, spec, code_vectors)
        told = config.condition if spec.classes else 0
        self.label = LabelEmbedding(spec.classes, config.condition, config.label_dropout) if told else None
        grid = config.value_grid(spec)
        self.network = GridNetwork(config, spec, grid, condition=told, code_vectors=code_vectors)

    @property
    def null_label(self) -> int | None:
        """See `Prior`."""
        return None if self.label is None else self.label.null_label

    @property
    def kept_numbers(self) -> int:
        """See `Prior`."""
        incremental = incremental_of(self.network)
        if incremental is None:
            return self.code_length
        with torch.no_grad():
            any_label = torch.zeros(1, dtype=torch.int64, device=self.device)
            state = incremental.state(1, self.condition(any_label, 1))
        return self.code_length + sum(part.numel() for part in state)

    def condition(self, labels: Tensor | None, batch: int) -> Tensor | None:
        """What the network is told of each cell, [B, Q, *S]; None if there are no classes."""
        if self.label is None:
            return None
        told = self.label(labels, batch)
        return told.view(*told.shape, *(1 for _ in self.network.grid.shape)).expand(-1, -1, *self.network.grid.shape)

    def conditionals(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """Logits [B, n + 1, K] of the values at positions 0..n, given the first n, `codes` [B, n]."""
        return self.network.logits(codes, self.condition(labels, len(codes)))

    def log_prob(self, codes: Tensor, labels: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """See `CausalPrior`."""
        return self.network.log_prob(codes, self.condition(labels, len(codes)))

    @classmethod
    def engines(cls) -> Mapping[str, EngineMaker]:
        """See `CausalPrior`."""
        return {**super().engines(), EagerEngine.name: EagerEngine}
