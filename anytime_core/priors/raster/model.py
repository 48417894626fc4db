"""Values on a grid in raster order, such as the pixels of a picture or the codes of an encoder's map.

n is a prefix length.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anytime_core.priors.grid.model import GridPrior
from anytime_core.priors.grid.stepping import open_grid
from anytime_core.priors.raster.config import RasterConfig
from anytime_core.priors.stepping import Stepper


class RasterPrior(GridPrior):
    """Models each value given those before it and, if there are classes, a label.

    Args:
        config: the network and its head.
        spec, code_vectors: see `Prior`; code vectors are used where values do not lie on a line.
    """

    kind = "raster"
    Config = RasterConfig
    config: RasterConfig

    @property
    def kept_numbers(self) -> int:
        """See `Prior`."""
        return self.code_length + self.network_keeps()

    def conditionals(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """Logits [B, n + 1, K] of the values at positions 0..n, given the first n, `codes` [B, n]."""
        return self.network.logits(self.network.values(codes), self._condition(labels, len(codes)))

    def log_prob(self, codes: Tensor, labels: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """See `CausalPrior`."""
        return self.network.log_prob(codes, self._condition(labels, len(codes)))

    def stepper(self, incremental: Any, labels: Tensor | None, batch: int) -> Stepper:
        """See `GridPrior`."""
        return open_grid(self.network, incremental, self._condition(labels, batch), batch)

    def _condition(self, labels: Tensor | None, batch: int) -> Tensor | None:
        """What the network is told of each cell; None if there are no classes."""
        return self.everywhere(self.label_of(labels, batch))
