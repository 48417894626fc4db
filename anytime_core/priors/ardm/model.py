"""Order-agnostic autoregressive diffusion over codes (Hoogeboom et al., "Autoregressive Diffusion Models", ICLR 2022).

A bidirectional transformer predicts every code from any others. Unknown codes are drawn in any order, any number of
them by one call of the network. With fewer calls, more codes are drawn together, and these ignore each other.

With more than one digit (section 4 of the paper, "depth upscaling") stage s draws digit s of all codes, the most
significant digit first. Each stage has its own losses and its own part of a plan.

n is a prefix length, S the number of stages, R the number of values of a digit, W the width, r the number of rows:
positions that go through the network.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anytime_core.priors.any_order.base import AnyOrderPrior, BoundTerms
from anytime_core.priors.any_order.digits import Digits, in_base
from anytime_core.priors.ardm.config import ARDMConfig
from anytime_core.priors.labels import LabelEmbedding
from anytime_core.priors.sequence.model import standardised
from anytime_core.priors.transformer.model import TransformerBlock, initialise
from anytime_core.quantizers.base import CodeSpec
from anytime_core.transfer import to_device

_TRACKING_RATE = 0.05


class ARDMPrior(AnyOrderPrior):
    """Models each code given any others and, if there are classes, a label.

    With `config.code_vectors` the quantizer's table, frozen and standardised, is a further input beside the token
    embedding: the vector of a code or, if only its first digits are known, the mean over all codes with these digits.
    If codes have one digit, logits also depend on how well the vectors fit what the prior expects.

    Args:
        config: sizes, dropout, digits and terms of the loss.
        spec, code_vectors: see `Prior`.
    """

    kind = "ardm"
    Config = ARDMConfig
    config: ARDMConfig
    vectors: Tensor | None
    token_vectors: Tensor | None
    token_of: Tensor
    digit_of: Tensor
    first_tokens: Tensor
    step_losses: Tensor

    def __init__(self, config: ARDMConfig, spec: CodeSpec, code_vectors: Tensor | None = None) -> None:
        super().__init__(config, spec)
        code_vectors = code_vectors if config.code_vectors else None
        code_length = spec.length
        self.digits = digits = _digits(config, spec)
        self.token = nn.Embedding(digits.tokens, config.width)
        self.position = nn.Embedding(code_length, config.width)
        self.start = LabelEmbedding(spec.classes, config.width, config.label_dropout)
        self.time = nn.Linear(1, config.width) if config.time_input else None
        vectors = None if code_vectors is None else standardised(code_vectors)
        self.register_buffer("vectors", vectors)
        self.register_buffer("token_vectors", None if vectors is None else _token_vectors(vectors, digits))
        self.register_buffer("token_of", digits.token_table(), persistent=False)
        self.register_buffer("digit_of", digits.digit_table(), persistent=False)
        self.register_buffer("first_tokens", torch.tensor(digits.first_tokens), persistent=False)
        self.register_buffer("step_losses", torch.full((len(digits), code_length), math.nan))
        if vectors is not None:
            self.from_vector = nn.Linear(vectors.shape[-1], config.width)
        if vectors is not None and len(digits) == 1:
            self.to_vector = nn.Linear(config.width, vectors.shape[-1], bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.heads = nn.ModuleList(nn.Linear(config.width, radix) for radix in digits.radices)
        initialise(self, config.layers)

    @property
    def null_label(self) -> int | None:
        """See `Prior`."""
        return self.start.null_label

    @property
    def kept_numbers(self) -> int:
        """See `Prior`: the work of one layer."""
        return self.code_length * self.config.width * (self.config.feedforward + 4)

    def draws(self, batch: int) -> dict[str, Tensor]:
        """See `Prior`: prefixes, and for each sequence one step of one order."""
        return self._steps(batch, self._lengths(batch))

    def forward(self, codes: Tensor, labels: Tensor | None, draws: Mapping[str, Tensor] | None = None) -> Tensor:
        """The training loss of each sequence [B, N] in nats per code, [B]; in training mode it tracks `step_losses`.

        It is the bound of the paper at one random step of a random order, plus `config.cross_entropy` times the mean
        cross-entropy over all positions at that step.
        """
        terms = self._terms(codes, labels, draws if draws is not None else self._drawn(codes))
        if self.training:
            self._track(terms)
        plain = terms.nats.sum(1) / terms.lengths
        return len(self.digits) * (terms.means + self.config.cross_entropy * plain)

    def log_prob(self, codes: Tensor, labels: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """An unbiased estimate of a lower bound of each code's log probability in nats, [B, N].

        It is taken at one step of one order for each sequence, so only the mean over many sequences is useful.
        """
        terms = self.bound_terms(codes, labels, generator=generator)
        return -terms.nats * (len(self.digits) * self.code_length / terms.unknown.sum(1, keepdim=True))

    def bound_terms(
        self,
        codes: Tensor,
        labels: Tensor | None,
        lengths: Tensor | None = None,
        generator: torch.Generator | None = None,
        starts: Tensor | None = None,
    ) -> BoundTerms:
        """See `AnyOrderPrior`. Steps are spread evenly over the batch, and each one by itself is still uniform."""
        if lengths is None:
            lengths = torch.full((len(codes),), self.code_length)
        steps = {name: value.to(codes.device) for name, value in self._steps(len(codes), lengths, generator).items()}
        if starts is not None:
            steps["known"] = starts[steps["stage"], steps["known"]]
        return self._terms(codes, labels, steps)

    def logits(self, tokens: Tensor, stage: int, labels: Tensor | None) -> Tensor:
        """See `AnyOrderPrior`."""
        stages = torch.full((len(tokens),), stage, device=tokens.device)
        return self._score(self._features(tokens, labels, stages), tokens, stage)

    def logits_at(
        self, tokens: Tensor, positions: Tensor, seen: int, asked: slice, stage: int, labels: Tensor | None
    ) -> Tensor:
        """See `AnyOrderPrior`."""
        rows = tokens.shape[1]
        mask = None
        if seen < rows:
            index = torch.arange(rows, device=tokens.device)
            mask = (index < seen) | (index == index.unsqueeze(1))
        known = torch.full((len(tokens),), asked.start / self.code_length, device=tokens.device)
        x = self._embed(tokens, positions, labels, known)
        for block in self.blocks:
            x = block(x, mask)
        return self._score(x[:, asked], tokens[:, asked], stage, positions[:, asked])

    def losses(self, length: int | None = None) -> Tensor:
        """See `AnyOrderPrior`.

        They are the running means of training. The losses of a prefix are taken to fall with the share of known codes
        in the same way as the losses of all codes.
        """
        length = length or self.code_length
        steps = torch.arange(length) * self.code_length // length
        rows = []
        for row in self.step_losses.cpu():
            seen = row.isfinite().nonzero().squeeze(1)
            fall = torch.linspace(1, 0, self.code_length) if not len(seen) else row
            known = torch.arange(self.code_length) if not len(seen) else seen
            filled = np.interp(steps.numpy(), known.numpy(), fall[known].numpy())
            rows.append(torch.from_numpy(filled).float())
        return torch.stack(rows)

    def _steps(self, batch: int, lengths: Tensor, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """One step of one order over the prefixes `lengths` [B] for each sequence, drawn on the CPU.

        Returns:
            `lengths`, `stage` and `known` [B], see `BoundTerms`; `keys` [B, N], by which positions are ordered; and of
            each stage its sequences, `rows0`, `rows1`, ..., if there are several stages.
        """
        stages, lengths = len(self.digits), lengths.cpu()
        offsets = torch.rand(batch, generator=generator, dtype=torch.float64)
        spread = torch.randperm(batch, generator=generator) + offsets
        step = spread / batch * stages
        stage = step.long().clamp(max=stages - 1)
        known = ((step - stage) * lengths).long().clamp(max=lengths - 1)
        keys = torch.rand(batch, self.code_length, generator=generator)
        rows = {f"rows{number}": (stage == number).nonzero().squeeze(1) for number in range(stages) if stages > 1}
        return {"lengths": lengths, "stage": stage, "known": known, "keys": keys, **rows}

    def _terms(self, codes: Tensor, labels: Tensor | None, steps: Mapping[str, Tensor]) -> BoundTerms:
        """The bound at `steps`, as `_steps` returns them, on the device of `codes`."""
        lengths, stage, known = steps["lengths"], steps["stage"], steps["known"]
        inside = torch.arange(self.code_length, device=codes.device) < lengths.unsqueeze(1)
        ranks = steps["keys"].masked_fill(~inside, 2.0).argsort(1).argsort(1)
        unknown = inside & (ranks >= known.unsqueeze(1))
        digits_known = torch.where(unknown, stage.unsqueeze(1), stage.unsqueeze(1) + 1) * inside
        features = self._features(self.token_of[digits_known, codes], labels, stage)
        if len(self.digits) == 1:
            nats = self._nats(features, codes, 0)
        else:
            nats = torch.zeros(codes.shape, device=codes.device)
            for number in range(len(self.digits)):
                rows = steps[f"rows{number}"]
                nats[rows] = self._nats(features.index_select(0, rows), codes[rows], number)
        return BoundTerms(nats * unknown, unknown, stage, known, lengths)

    def _nats(self, features: Tensor, codes: Tensor, stage: int) -> Tensor:
        """The cross-entropy of a digit of `codes` [B, N], given features [B, N, W]: [B, N]."""
        logits = self._score(features, self.token_of[stage, codes], stage)
        return F.cross_entropy(logits.float().transpose(1, 2), self.digit_of[stage, codes], reduction="none")

    def _features(self, tokens: Tensor, labels: Tensor | None, stage: Tensor) -> Tensor:
        """Tokens [B, N] at all positions and stages [B] -> [B, N, W]."""
        batch, length = tokens.shape
        positions = torch.arange(length, device=tokens.device).expand(batch, -1)
        known = (tokens >= self.first_tokens[stage + 1].unsqueeze(1)).float().mean(1)
        mask = (tokens != 0).unsqueeze(1) | torch.eye(length, dtype=torch.bool, device=tokens.device)
        x = self._embed(tokens, positions, labels, known)
        for block in self.blocks:
            x = block(x, mask.unsqueeze(1))
        return x

    def _embed(self, tokens: Tensor, positions: Tensor, labels: Tensor | None, known: Tensor) -> Tensor:
        """Tokens [B, r], their positions [B, r] and the shares of known codes [B] -> [B, r, W]."""
        start = self.start(labels, len(tokens))
        if self.time is not None:
            start = start + self.time(known.to(start.dtype).unsqueeze(1))
        x = self.token(tokens) + self.position(positions) + start.unsqueeze(1)
        if self.token_vectors is not None:
            shared = self.token_vectors.ndim == 2
            x = x + self.from_vector(self.token_vectors[tokens] if shared else self.token_vectors[positions, tokens])
        return self.dropout(x)

    def _score(self, x: Tensor, tokens: Tensor, stage: int, positions: Tensor | None = None) -> Tensor:
        """[B, r, W] -> logits [B, r, R] of a digit; `positions` [B, r] of the rows; None: the first r positions."""
        x = self.norm(x)
        logits = self.heads[stage](x)
        if self.vectors is not None and len(self.digits) == 1:
            expected = self.to_vector(x)  # [B, r, D]
            if self.vectors.ndim == 2:
                logits = logits + expected @ self.vectors.T
            elif positions is None:
                logits = logits + torch.einsum("bnd,nkd->bnk", expected, self.vectors)
            else:
                logits = logits + torch.einsum("brd,brkd->brk", expected, self.vectors[positions])
        impossible = self.digits.impossible(tokens, stage)
        return logits if impossible is None else logits.masked_fill(impossible, -math.inf)

    def _drawn(self, codes: Tensor) -> dict[str, Tensor]:
        """`draws` for `codes` [B, N], on their device."""
        return {name: to_device(value, codes.device) for name, value in self.draws(len(codes)).items()}

    def _lengths(self, batch: int) -> Tensor:
        """The prefixes to train on, [B]: a random one for a share of the sequences, all codes for the others."""
        drawn = torch.randint(1, self.code_length + 1, (batch,))
        cut = torch.rand(batch) < (self.config.prefix_share if self.training else 0.0)
        return torch.where(cut, drawn, self.code_length)

    @torch.no_grad()
    def _track(self, terms: BoundTerms) -> None:
        """Update the running means of L_t by the terms of whole sequences."""
        whole = (terms.lengths == self.code_length).to(self.step_losses.dtype)
        flat = self.step_losses.view(-1)
        index = terms.stage * self.code_length + terms.known
        counts = torch.zeros_like(flat).index_add_(0, index, whole)
        means = torch.zeros_like(flat).index_add_(0, index, terms.means * whole) / counts.clamp(min=1)
        followed = torch.where(flat.isnan(), means, flat.lerp(means, _TRACKING_RATE))
        flat.copy_(torch.where(counts > 0, followed, flat))


def _digits(config: ARDMConfig, spec: CodeSpec) -> Digits:
    """The digits by which codes are drawn."""
    assert spec.size is not None  # as the config has seen to
    if config.base is None:
        return Digits(spec.size, (spec.size,))
    if config.base == "levels":
        assert spec.radices is not None
        return Digits(spec.size, spec.radices)
    return in_base(spec.size, config.base)


def _token_vectors(vectors: Tensor, digits: Digits) -> Tensor:
    """Code vectors [..., K, D] -> [..., T, D] for T tokens: the mean over the codes that a token leaves open."""
    parts = []
    for first, beginnings, tokens in zip(digits.first_tokens, digits.beginnings, digits.token_table(), strict=True):
        index = (tokens - first).to(vectors.device)
        sums = vectors.new_zeros(*vectors.shape[:-2], beginnings, vectors.shape[-1]).index_add_(-2, index, vectors)
        counts = index.new_zeros(beginnings).index_add_(0, index, torch.ones_like(index))
        parts.append(sums / counts.unsqueeze(1))
    return torch.cat(parts, -2)
