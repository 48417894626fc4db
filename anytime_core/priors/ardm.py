"""Order-agnostic autoregressive diffusion over codes (Hoogeboom et al., "Autoregressive Diffusion Models", ICLR 2022).

A bidirectional transformer predicts every code from any others. What is not known yet is drawn in any order, and any
number of codes by one call of the network; the fewer calls, the more the codes that one call draws ignore each other.

With more than one digit (section 4 of the paper, "depth upscaling") stage s draws the digit s of all codes, the most
significant first; each stage has its own losses and its own part of a plan.

Letters: B batch, N code length, n a prefix length, K codebook size, S stages, R values of a digit, D code dimension,
W width, r rows: positions that go through the network.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anytime_core.config import ARDMConfig
from anytime_core.priors.base import Prior
from anytime_core.priors.digits import Digits
from anytime_core.priors.labels import LabelEmbedding
from anytime_core.priors.transformer import TransformerBlock, initialise, standardised

_TRACKING_RATE = 0.05


@dataclass(frozen=True)
class BoundTerms:
    """One random step of the likelihood bound of each sequence.

    Attributes:
        nats: [B, N], cross-entropy of the digits that are unknown at that step, 0 elsewhere.
        unknown: [B, N], where they are.
        stage: [B], of the digits, from 0.
        known: [B], how many positions' digits are known, of n.
        lengths: [B], n: positions after it are left out.
    """

    nats: Tensor
    unknown: Tensor
    stage: Tensor
    known: Tensor
    lengths: Tensor

    @property
    def means(self) -> Tensor:
        """[B], mean over the unknown digits: L_t of the paper."""
        return self.nats.sum(1) / self.unknown.sum(1)


class ARDMPrior(Prior):
    """Models each code given any others and, with `classes` > 0, a class label.

    Positions of which nothing is known ask about themselves and are seen by no other. So those that are not wanted are
    left out at no cost, and what remains is the same distribution.

    Args:
        config: sizes, dropout and terms of the loss.
        code_length: N.
        digits: of the codes; their `size` is K.
        classes: number of labels, 0 for an unconditional model.
        code_vectors: the quantizer's table, [K, D] or one per position [N, K, D]: frozen and standardised, a further
            input beside the token embedding, the mean of all codes that begin so where a code is known in part. Codes
            of one digit also get logits by how well their vectors fit what the prior expects.
    """

    vectors: Tensor | None
    token_vectors: Tensor | None
    token_of: Tensor
    digit_of: Tensor
    step_losses: Tensor

    def __init__(
        self,
        config: ARDMConfig,
        *,
        code_length: int,
        digits: Digits,
        classes: int = 0,
        code_vectors: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.config, self.digits = config, digits
        self.code_length, self.codebook_size, self.classes = code_length, digits.size, classes
        self.token = nn.Embedding(digits.tokens, config.width)
        self.position = nn.Embedding(code_length, config.width)
        self.start = LabelEmbedding(classes, config.width, config.label_dropout)
        self.time = nn.Linear(1, config.width) if config.time_input else None
        vectors = None if code_vectors is None else standardised(code_vectors)
        self.register_buffer("vectors", vectors)
        self.register_buffer("token_vectors", None if vectors is None else _token_vectors(vectors, digits))
        self.register_buffer("token_of", digits.token_table(), persistent=False)
        self.register_buffer("digit_of", digits.digit_table(), persistent=False)
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

    def forward(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """Training loss of each sequence [B, N] in nats per code, [B]; in training mode it tracks `step_losses`.

        The bound of the paper at one random step of a random order, and `config.cross_entropy` times the mean over all
        positions of the cross-entropy at that step.
        """
        terms = self.bound_terms(codes, labels, self._lengths(codes))
        if self.training:
            self._track(terms)
        plain = terms.nats.sum(1) / terms.lengths
        return len(self.digits) * (terms.means + self.config.cross_entropy * plain)

    def log_prob(self, codes: Tensor, labels: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """An unbiased estimate of a lower bound of each code's log probability in nats, [B, N].

        It is taken at one step of one order for each sequence, so it is of use in the mean over many.
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
        """One step of the bound for each sequence [B, N]: stage, order and step are drawn uniformly.

        Steps are spread evenly over the batch, each by itself still uniform.

        Args:
            codes: [B, N].
            labels: [B].
            lengths: [B] prefixes that the order runs over; None: all N codes.
            generator: on the CPU.
            starts: [S, n] of a plan, how many codes are known where step t is drawn; None: t, one after another.
        """
        batch, device = len(codes), codes.device
        if lengths is None:
            lengths = torch.full((batch,), self.code_length, device=device)
        offsets = torch.rand(batch, generator=generator, dtype=torch.float64)
        spread = torch.randperm(batch, generator=generator) + offsets
        step = (spread / batch * len(self.digits)).to(device)
        stage = step.long().clamp(max=len(self.digits) - 1)
        known = ((step - stage) * lengths).long().clamp(max=lengths - 1)
        if starts is not None:
            known = starts[stage, known]
        keys = torch.rand(codes.shape, generator=generator).to(device)
        inside = torch.arange(self.code_length, device=device) < lengths.unsqueeze(1)
        ranks = keys.masked_fill(~inside, 2.0).argsort(1).argsort(1)
        unknown = inside & (ranks >= known.unsqueeze(1))
        digits_known = torch.where(unknown, stage.unsqueeze(1), stage.unsqueeze(1) + 1) * inside
        features = self._features(self.token_of[digits_known, codes], labels, stage)
        nats = torch.zeros(codes.shape, device=device)
        for number in range(len(self.digits)):
            rows = (stage == number).nonzero().squeeze(1)
            tokens = self.token_of[number, codes[rows]]
            logits = self._score(features[rows], tokens, number)
            targets = self.digit_of[number, codes[rows]]
            nats[rows] = F.cross_entropy(logits.float().transpose(1, 2), targets, reduction="none")
        return BoundTerms(nats * unknown, unknown, stage, known, lengths)

    def logits(self, tokens: Tensor, stage: int, labels: Tensor | None) -> Tensor:
        """Logits [B, N, R] of the digit `stage` at all positions, of which only those without it have a meaning.

        Args:
            tokens: [B, N], what is known of each code; 0 for nothing.
            stage: from 0.
            labels: [B].
        """
        stages = torch.full((len(tokens),), stage, device=tokens.device)
        return self._score(self._features(tokens, labels, stages), tokens, stage)

    def logits_at(
        self, tokens: Tensor, positions: Tensor, seen: int, asked: slice, stage: int, labels: Tensor | None
    ) -> Tensor:
        """The same logits, where only some rows go through the network: [B, number asked, R].

        Args:
            tokens: [B, r], what is known of these rows.
            positions: [B, r], where they stand.
            seen: how many leading rows something is known of.
            asked: rows that logits are wanted of.
            stage: from 0.
            labels: [B].
        """
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
        """[S, n] nats of one more digit where 0, 1, ..., n - 1 of the first `length` codes (None: all) have it.

        They are the running means of training; those of a prefix are taken to fall with the share of codes that is
        known, as those of all codes do.
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

    def _features(self, tokens: Tensor, labels: Tensor | None, stage: Tensor) -> Tensor:
        """[B, N] tokens at all positions and [B] stages -> [B, N, W]."""
        batch, length = tokens.shape
        positions = torch.arange(length, device=tokens.device).expand(batch, -1)
        whole_digits = torch.tensor(self.digits.first_tokens[1:], device=tokens.device)[stage]
        known = (tokens >= whole_digits.unsqueeze(1)).float().mean(1)
        mask = (tokens != 0).unsqueeze(1) | torch.eye(length, dtype=torch.bool, device=tokens.device)
        x = self._embed(tokens, positions, labels, known)
        for block in self.blocks:
            x = block(x, mask.unsqueeze(1))
        return x

    def _embed(self, tokens: Tensor, positions: Tensor, labels: Tensor | None, known: Tensor) -> Tensor:
        """[B, r] tokens and where they stand, and [B] shares of known codes -> [B, r, W]."""
        start = self.start(labels, len(tokens))
        if self.time is not None:
            start = start + self.time(known.to(start.dtype).unsqueeze(1))
        x = self.token(tokens) + self.position(positions) + start.unsqueeze(1)
        if self.token_vectors is not None:
            shared = self.token_vectors.ndim == 2
            x = x + self.from_vector(self.token_vectors[tokens] if shared else self.token_vectors[positions, tokens])
        return self.dropout(x)

    def _score(self, x: Tensor, tokens: Tensor, stage: int, positions: Tensor | None = None) -> Tensor:
        """[B, r, W] -> logits [B, r, R] of a digit; `positions` [B, r] of the rows, None: the first r."""
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

    def _lengths(self, codes: Tensor) -> Tensor:
        """[B] prefixes to train on: of a share of the sequences a random one, of the others all codes."""
        batch = len(codes)
        drawn = torch.randint(1, self.code_length + 1, (batch,))
        cut = torch.rand(batch) < (self.config.prefix_share if self.training else 0.0)
        return torch.where(cut, drawn, self.code_length).to(codes.device)

    @torch.no_grad()
    def _track(self, terms: BoundTerms) -> None:
        """Let the running means of L_t follow the terms of whole sequences."""
        whole = terms.lengths == self.code_length
        flat = self.step_losses.view(-1)
        index = (terms.stage * self.code_length + terms.known)[whole]
        counts = torch.zeros_like(flat).index_add_(0, index, torch.ones_like(index, dtype=flat.dtype))
        means = torch.zeros_like(flat).index_add_(0, index, terms.means[whole]) / counts.clamp(min=1)
        followed = torch.where(flat.isnan(), means, flat.lerp(means, _TRACKING_RATE))
        flat.copy_(torch.where(counts > 0, followed, flat))


def _token_vectors(vectors: Tensor, digits: Digits) -> Tensor:
    """[.., K, D] code vectors -> [.., T, D]: for each token the mean over the codes that it leaves open."""
    parts = []
    for first, beginnings, tokens in zip(digits.first_tokens, digits.beginnings, digits.token_table(), strict=True):
        index = (tokens - first).to(vectors.device)
        sums = vectors.new_zeros(*vectors.shape[:-2], beginnings, vectors.shape[-1]).index_add_(-2, index, vectors)
        parts.append(sums / index.bincount(minlength=beginnings).unsqueeze(1))
    return torch.cat(parts, -2)
