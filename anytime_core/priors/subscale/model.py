"""Subscale pixel networks (Menick and Kalchbrenner, "Generating High Fidelity Images with Subscale Pixel Networks and
Multidimensional Upscaling", ICLR 2019): a grid is cut into interleaved slices, which are drawn one after another.

The decoder is a network that a modality offers, over one slice and the same for all. An embedder, a residual network,
tells it of the slices before that one. So the decoder's work is that of a network over a small grid, and what is far
apart in the grid is near in a slice.

[C, *P] is the shape of a slice, A the number of slices, V the number of values of a slice, Q the channels of the
condition, n a prefix length, m how many slices are looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from anytime_core.priors.grid.layout import as_planes
from anytime_core.priors.grid.model import GridPrior
from anytime_core.priors.grid.part_embedder import PartEmbedder
from anytime_core.priors.subscale.config import SubscaleConfig
from anytime_core.priors.subscale.stepping import SliceStepper
from anytime_core.quantizers.base import CodeSpec


class SubscalePrior(GridPrior):
    """Models each value given those before it in subscale order and, if there are classes, a label.

    Args:
        config: the network over a slice, its head, and the embedder.
        spec, code_vectors: see `Prior`; code vectors are used where values do not lie on a line.

    Attributes:
        in_slice: V.
    """

    kind = "subscale"
    Config = SubscaleConfig
    config: SubscaleConfig

    def __init__(self, config: SubscaleConfig, spec: CodeSpec, code_vectors: Tensor | None = None) -> None:
        super().__init__(config, spec, code_vectors, condition=config.condition)
        grid = self.network.grid
        axes = len(grid.shape)
        self.in_slice = grid.channels * math.prod(grid.shape)
        self.slices = config.slices_of(spec) ** axes
        numbers, told = grid.channels * self.network.values.size, config.condition if spec.classes else 0
        self.embedder = PartEmbedder(
            self.slices, numbers, config.condition, config.width, config.blocks, axes=axes, told=told
        )

    @property
    def kept_numbers(self) -> int:
        """See `Prior`."""
        grid = self.network.grid
        return self.code_length + grid.condition * math.prod(grid.shape) + self.network_keeps()

    def draws(self, batch: int) -> dict[str, Tensor]:
        """See `Prior`: the slices of each sequence that a training step looks at, [B, m], if it does not see all."""
        among, wanted = self._begun, self.config.slices_per_step
        if wanted is None or wanted >= among:
            return {}
        return {"slices": torch.rand(batch, among).argsort(1)[:, :wanted]}

    def forward(self, codes: Tensor, labels: Tensor | None, draws: Mapping[str, Tensor] | None = None) -> Tensor:
        """The negative log-likelihood in nats per code, [B]; of drawn slices only, an unbiased estimate of it."""
        if not draws:
            return super().forward(codes, labels)
        which = draws["slices"]
        return -self._log_prob(codes, labels, which).sum((1, 2)) * (self._begun / which.shape[1] / self.code_length)

    def log_prob(self, codes: Tensor, labels: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """See `CausalPrior`."""
        which = torch.arange(self._begun, device=codes.device).expand(len(codes), -1)
        return self._log_prob(codes, labels, which).flatten(1)[:, : self.code_length]

    def conditionals(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """Logits [B, n + 1, K] of the values at positions 0..n, given the first n, `codes` [B, n]."""
        batch, given = codes.shape
        whole = given // self.in_slice
        values, label = self.network.values(codes), self.label_of(labels, batch)
        which = torch.arange(whole + 1, device=codes.device).expand(batch, -1)
        condition = self._told(values, which, label).unflatten(0, (batch, -1))
        done = whole * self.in_slice
        last = self.network.logits(values[:, done:], condition[:, -1])
        if not whole:
            return last
        slices = values[:, :done].unflatten(1, (whole, -1)).flatten(0, 1)
        first = self.network.logits(slices, condition[:, :-1].flatten(0, 1))  # [B * slices, V, K]
        return torch.cat([first.unflatten(0, (batch, -1)).flatten(1, 2), last], 1)

    def condition(self, codes: Tensor, number: int, labels: Tensor | None) -> Tensor:
        """What the network is told of slice `number`, [B, Q, *P].

        Args:
            codes: [B, n], at least all of the slices before that one.
            number: from 0.
            labels: [B], None for an unconditional prior.
        """
        which = torch.full((len(codes), 1), number, device=codes.device)
        return self._told(self.network.values(codes), which, self.label_of(labels, len(codes)))

    @property
    def _begun(self) -> int:
        """How many slices there are any codes of, which are fewer than A if the prior models only the first codes."""
        return -(-self.code_length // self.in_slice)

    def _told(self, values: Tensor, which: Tensor, label: Tensor | None) -> Tensor:
        """The condition [B * m, Q, *P] of the slices `which` [B, m], given the `values` [B, n, E] before them."""
        grid = self.network.grid
        values = values[:, : self.slices * self.in_slice]
        values = F.pad(values, (0, 0, 0, self.slices * self.in_slice - values.shape[1]))
        slices = as_planes(values.unflatten(1, (self.slices, -1)), grid.channels, grid.shape)  # [B, A, C * E, *P]
        told: Tensor = self.embedder(slices, which, label)
        return told

    def _log_prob(self, codes: Tensor, labels: Tensor | None, which: Tensor) -> Tensor:
        """The log probability of the values of the slices `which` [B, m] in nats, [B, m, V], 0 after the last code."""
        batch, wanted = which.shape
        values = self.network.values(codes)
        condition = self._told(values, which, self.label_of(labels, batch))
        missing = self._begun * self.in_slice - self.code_length
        codes, values = F.pad(codes, (0, missing)), F.pad(values, (0, 0, 0, missing))
        rows = torch.arange(batch, device=codes.device).unsqueeze(1)
        chosen = codes.unflatten(1, (self._begun, -1))[rows, which].flatten(0, 1)  # [B * m, V]
        numbers = values.unflatten(1, (self._begun, -1))[rows, which].flatten(0, 1)
        features, earlier = self.network.features(numbers, condition), self.network.earlier(numbers, self.in_slice)
        nats = self.network.head.log_prob(features, earlier, chosen).unflatten(0, (batch, wanted))
        if not missing:
            return nats
        positions = which.unsqueeze(-1) * self.in_slice + torch.arange(self.in_slice, device=codes.device)
        return nats.masked_fill(positions >= self.code_length, 0.0)

    def stepper(self, incremental: Any, labels: Tensor | None, batch: int) -> SliceStepper:
        """See `GridPrior`: the embedder runs once a slice."""
        return SliceStepper(self, incremental, labels, batch)
