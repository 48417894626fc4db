"""The reference for all other engines: the whole prefix through the prior for every code, and nothing prepared."""

from __future__ import annotations

import torch
from torch import Tensor

from anytime_core.priors import TransformerPrior
from anytime_core.sampling.engines.base import SteppedEngine


class PlainEngine(SteppedEngine):
    """See `Engine`."""

    name = "plain"

    def open(self, labels: Tensor | None, batch: int, length: int) -> _PlainDecoder:
        """A decoder for a batch of `length` codes."""
        return _PlainDecoder(self.prior, labels, batch)


class _PlainDecoder:
    def __init__(self, prior: TransformerPrior, labels: Tensor | None, batch: int) -> None:
        self.prior, self.labels = prior, labels
        self.codes = torch.empty(batch, 0, dtype=torch.int64, device=prior.position.weight.device)

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        if previous is not None:
            self.codes = torch.cat([self.codes, previous.unsqueeze(1)], 1)
        return self.prior.logits(self.codes, self.labels)[:, -1]

    def keep(self, rows: Tensor) -> None:
        self.codes = self.codes[rows]
        self.labels = None if self.labels is None else self.labels[rows]
