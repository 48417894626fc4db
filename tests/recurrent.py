"""A prior that is one file: a recurrent network, with an engine that carries its state from code to code.

Letters: B batch, N code length, n a prefix length, K codebook size, W width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from anytime_core.priors.base import CausalPrior
from anytime_core.priors.labels import LabelEmbedding
from anytime_core.priors.section import PriorSection
from anytime_core.priors.stepping import Engine, Stepper
from anytime_core.quantizers.base import CodeSpec


class RecurrentConfig(PriorSection):
    """A recurrent prior."""

    kind: Literal["recurrent"] = Field("recurrent", description="a recurrent network")
    width: int = Field(24, ge=1, description="of the state")
    label_dropout: float = Field(0.2, ge=0, lt=1, description="share of the labels that are hidden in training")


class RecurrentPrior(CausalPrior):
    """A gated recurrent unit over code embeddings; its first state and input are those of the label."""

    kind = "recurrent"
    Config = RecurrentConfig

    def __init__(self, config: RecurrentConfig, spec: CodeSpec, code_vectors: Tensor | None = None) -> None:
        super().__init__(config, spec)
        self.start = LabelEmbedding(spec.classes, config.width, config.label_dropout)
        self.token = nn.Embedding(self.codebook_size, config.width)
        self.cell = nn.GRU(config.width, config.width, batch_first=True)
        self.to_logits = nn.Linear(config.width, self.codebook_size)

    @property
    def null_label(self) -> int | None:
        return self.start.null_label

    def conditionals(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        start = self.start(labels, len(codes))
        inputs = torch.cat([start.unsqueeze(1), self.token(codes)], 1)  # [B, n + 1, W]
        states, _ = self.cell(inputs, start.unsqueeze(0).contiguous())
        return self.to_logits(states)

    @classmethod
    def engines(cls) -> Mapping[str, Any]:
        return {**super().engines(), "carried": CarriedEngine}


class CarriedEngine(Engine):
    name = "carried"

    def open(self, labels: Tensor | None, batch: int, length: int) -> Stepper:
        return CarriedStepper(self.prior, self.prior.start(labels, batch))


class CarriedStepper:
    def __init__(self, prior: RecurrentPrior, start: Tensor) -> None:
        self.prior, self.state, self.start = prior, start.unsqueeze(0).contiguous(), start

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        inputs = self.start if previous is None else self.prior.token(previous)
        states, self.state = self.prior.cell(inputs.unsqueeze(1), self.state)
        return self.prior.to_logits(states[:, 0])

    def keep(self, rows: Tensor) -> None:
        self.state = self.state[:, rows].contiguous()
