"""Causal priors whose network maps a sequence of vectors to one of the same length.

What differs between kinds is the network. What they share is how codes, positions, labels and code vectors become
inputs, and how features become logits.

n is a prefix length, W the width of inputs, F the number of features of a position.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from anytime_core.priors.base import CausalPrior
from anytime_core.priors.labels import LabelEmbedding
from anytime_core.priors.section import SequenceSection
from anytime_core.priors.sequence.engines import EagerEngine, GraphEngine
from anytime_core.priors.sequence.incremental import IncrementalNetwork
from anytime_core.priors.sequence.positions import GridPositions
from anytime_core.priors.sequence.weights import EndWeights, fold_ends
from anytime_core.priors.stepping import EngineMaker
from anytime_core.quantizers.base import CodeSpec


class SequencePrior(CausalPrior):
    """Models each code given the codes before it and, if there are classes, a label.

    The input at position 0 is the embedding of the label, and the input at position i that of code i - 1; the
    embeddings of the label and of the position are added to each. With `config.code_vectors` the quantizer's table,
    frozen and standardised, tells which codes look alike: the vector of a code is a further input beside its
    embedding, and logits also depend on how well the vectors fit what the prior expects.

    A kind makes its network after `super().__init__`, then calls `add_head`, and says what `features` are.

    Args:
        config: its section.
        spec, code_vectors: see `Prior`.
        width: W.
        features: F; None: W.
        position: what embeds positions; None: one learned embedding for each.
        vectors_at_output: whether code vectors are used for logits, too.
    """

    config: SequenceSection
    vectors: Tensor | None

    def __init__(
        self,
        config: SequenceSection,
        spec: CodeSpec,
        code_vectors: Tensor | None = None,
        *,
        width: int,
        features: int | None = None,
        position: GridPositions | None = None,
        vectors_at_output: bool = True,
    ) -> None:
        super().__init__(config, spec)
        code_vectors = code_vectors if config.code_vectors else None
        self.feature_size = features or width
        self.token = nn.Embedding(self.codebook_size, width)
        self.position = position or nn.Embedding(spec.length, width)
        self.start = LabelEmbedding(spec.classes, width, config.label_dropout)
        self.register_buffer("vectors", None if code_vectors is None else standardised(code_vectors))
        if code_vectors is not None:
            self.from_vector = nn.Linear(code_vectors.shape[-1], width)
        self.vectors_at_output = vectors_at_output and code_vectors is not None
        if code_vectors is not None and vectors_at_output:
            self.to_vector = nn.Linear(self.feature_size, code_vectors.shape[-1], bias=False)

    def add_head(self, outputs: int | None = None) -> None:
        """Add the last layer, from features to K logits, or to as many `outputs` as `logits` of a kind needs."""
        self.head = nn.Linear(self.feature_size, outputs or self.codebook_size)

    @property
    def null_label(self) -> int | None:
        """See `Prior`."""
        return self.start.null_label

    def conditionals(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """Logits [B, n + 1, K] of the codes at positions 0..n, given the first n codes, `codes` [B, n]."""
        return self.logits(self.features(self.inputs(codes, labels)))

    def inputs(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """What the network gets at positions 0..n, [B, n + 1, W], of the first n codes, `codes` [B, n]."""
        start = self.start(labels, len(codes)).unsqueeze(1)
        return torch.cat([start, self._embedded(codes) + start], 1) + self.positions()[: codes.shape[1] + 1]

    def positions(self) -> Tensor:
        """The embedding of each position, [N, W]."""
        return self.position.weight

    @abstractmethod
    def features(self, inputs: Tensor) -> Tensor:
        """Inputs [B, n, W] at the first n positions -> features [B, n, F], of which each sees inputs up to its own."""

    def logits(self, features: Tensor) -> Tensor:
        """Features [B, n, F] at the first n positions -> logits [B, n, K]."""
        logits = self.head(features)
        if self.vectors is None or not self.vectors_at_output:
            return logits
        expected = self.to_vector(features)  # [B, n, D]
        if self.vectors.ndim == 2:
            return logits + expected @ self.vectors.T
        return logits + torch.einsum("bnd,nkd->bnk", expected, self.vectors[: features.shape[1]])

    def _embedded(self, codes: Tensor) -> Tensor:
        """The first n codes [B, n] -> [B, n, W]."""
        x = self.token(codes)
        if self.vectors is None:
            return x
        if self.vectors.ndim == 2:
            return x + self.from_vector(self.vectors[codes])
        positions = torch.arange(codes.shape[1], device=codes.device)
        return x + self.from_vector(self.vectors[positions, codes])


class IncrementalPrior(SequencePrior):
    """A sequence prior whose network also works one position at a time: it has the engines `eager` and `graph`."""

    @classmethod
    def engines(cls) -> Mapping[str, EngineMaker]:
        """See `CausalPrior`."""
        return {**super().engines(), EagerEngine.name: EagerEngine, GraphEngine.name: GraphEngine}

    def fastest_engine(self, precision: str, batch: int, multiply_adds: float) -> str:
        """See `Prior`."""
        return GraphEngine.name if self.device.type == "cuda" else EagerEngine.name

    @abstractmethod
    def incremental(self, dtype: torch.dtype) -> IncrementalNetwork:
        """What computes `features` one position at a time, with weights copied to `dtype`."""

    def ends(self, dtype: torch.dtype) -> EndWeights:
        """The weights around the network, folded in float32 and then copied to `dtype`."""
        return fold_ends(self, dtype)


def initialise_ends(prior: SequencePrior, std: float) -> None:
    """Set embeddings to a standard deviation of `std`, and the last layer so that all logits are near zero."""
    for embedding in (prior.token, prior.position, prior.start):
        nn.init.normal_(embedding.weight, std=std)
    nn.init.normal_(prior.head.weight, std=0.02)
    nn.init.zeros_(prior.head.bias)
    if prior.vectors is not None:
        nn.init.normal_(prior.from_vector.weight, std=std * prior.from_vector.in_features**-0.5)
        nn.init.zeros_(prior.from_vector.bias)
    if prior.vectors_at_output:
        nn.init.zeros_(prior.to_vector.weight)


def standardised(vectors: Tensor) -> Tensor:
    """The code vectors with mean zero and unit variance, for any scale of the latent map."""
    centred = vectors - vectors.mean(-2, keepdim=True)
    return centred / centred.std().clamp(min=torch.finfo(centred.dtype).tiny)
