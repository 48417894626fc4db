"""Decoder-only transformer over codes (Vaswani et al. 2017, with normalisation before each sublayer).

Letters: B batch, N code length, n a prefix length, K codebook size, D code dimension, W width, H heads, E = W / H.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anytime_core.config import ARDMConfig, TransformerConfig
from anytime_core.priors.base import Prior
from anytime_core.priors.labels import LabelEmbedding


class TransformerPrior(Prior):
    """Models each code given the codes before it and, with `classes` > 0, a class label.

    Args:
        config: sizes and dropout.
        code_length: N.
        codebook_size: K.
        classes: number of labels, 0 for an unconditional model.
        code_vectors: the quantizer's table, [K, D] or one per position [N, K, D]; it tells the prior which codes look
            alike: frozen and standardised, it is a further input beside the token embedding, and codes also get logits
            by how well their vectors fit what the prior expects.
    """

    vectors: Tensor | None

    def __init__(
        self,
        config: TransformerConfig,
        *,
        code_length: int,
        codebook_size: int,
        classes: int = 0,
        code_vectors: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.code_length, self.codebook_size, self.classes = code_length, codebook_size, classes
        self.heads = config.heads
        self.token = nn.Embedding(codebook_size, config.width)
        self.position = nn.Embedding(code_length, config.width)
        self.start = LabelEmbedding(classes, config.width, config.label_dropout)
        self.register_buffer("vectors", None if code_vectors is None else standardised(code_vectors))
        if code_vectors is not None:
            self.from_vector = nn.Linear(code_vectors.shape[-1], config.width)
            self.to_vector = nn.Linear(config.width, code_vectors.shape[-1], bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, codebook_size)
        initialise(self, config.layers)

    def forward(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """Cross-entropy of each sequence in nats per code, [B]."""
        return -self.log_prob(codes, labels).mean(1)

    def log_prob(self, codes: Tensor, labels: Tensor | None, generator: torch.Generator | None = None) -> Tensor:
        """Log probability of each code given those before it, in nats, [B, N]."""
        logits = self.logits(codes[:, :-1], labels)
        return -F.cross_entropy(logits.float().transpose(1, 2), codes, reduction="none")

    def logits(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """Logits [B, n + 1, K] of the codes at positions 0..n, given the first n of them, `codes` [B, n]."""
        start = self.start(labels, len(codes)).unsqueeze(1)
        x = torch.cat([start, self._embed(codes) + start], 1) + self.position.weight[: codes.shape[1] + 1]
        x = self.dropout(x)  # [B, n + 1, W]
        for block in self.blocks:
            x = block(x, causal=True)
        return self._score(x)

    def _embed(self, codes: Tensor) -> Tensor:
        """[B, n] codes, the first ones -> [B, n, W]."""
        x = self.token(codes)
        if self.vectors is None:
            return x
        if self.vectors.ndim == 2:
            return x + self.from_vector(self.vectors[codes])
        positions = torch.arange(codes.shape[1], device=codes.device)
        return x + self.from_vector(self.vectors[positions, codes])

    def _score(self, x: Tensor) -> Tensor:
        """[B, n, W] at the first n positions -> logits [B, n, K]."""
        x = self.norm(x)
        logits = self.head(x)
        if self.vectors is None:
            return logits
        expected = self.to_vector(x)  # [B, n, D]
        if self.vectors.ndim == 2:
            return logits + expected @ self.vectors.T
        return logits + torch.einsum("bnd,nkd->bnk", expected, self.vectors[: x.shape[1]])


class TransformerBlock(nn.Module):
    """Attention and feed-forward layer, each added to the residual stream."""

    def __init__(self, config: TransformerConfig | ARDMConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.width * config.feedforward
        self.heads, self.dropout = config.heads, config.dropout
        self.attention_norm, self.feedforward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.expand = nn.Linear(width, hidden)
        self.shrink = nn.Linear(hidden, width)

    def forward(self, x: Tensor, mask: Tensor | None = None, *, causal: bool = False) -> Tensor:
        """[B, n, W] -> the same shape.

        Attention is to all positions, to those that `mask` says, which broadcasts to [B, H, n, n], or, if `causal`, to
        the position itself and those before it.
        """
        queries, keys, values = self._split(x)
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, dropout_p=dropout, is_causal=causal
        )
        return self._join(x, attended)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, n, W] -> queries, keys and values, each [B, H, n, E]."""
        projected = self.queries_keys_values(self.attention_norm(x)).unflatten(-1, (3, self.heads, -1))
        queries, keys, values = projected.permute(2, 0, 3, 1, 4)
        return queries, keys, values

    def _join(self, x: Tensor, attended: Tensor) -> Tensor:
        attended = attended.transpose(1, 2).flatten(2)  # [B, n, W]
        x = x + F.dropout(self.project(attended), self.dropout, self.training)
        hidden = F.gelu(self.expand(self.feedforward_norm(x)))
        return x + F.dropout(self.shrink(hidden), self.dropout, self.training)


def initialise(prior: nn.Module, layers: int) -> None:
    """Weights of standard deviation 0.02, biases zero (GPT-2); code vectors have no say at first."""
    prior.apply(_initialise)
    for name, parameter in prior.named_parameters():
        if name.endswith(("project.weight", "shrink.weight")):
            # The residual stream keeps its scale at any depth (GPT-2).
            nn.init.normal_(parameter, std=0.02 / (2 * layers) ** 0.5)
        if name == "to_vector.weight":
            nn.init.zeros_(parameter)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding | LabelEmbedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)


def standardised(vectors: Tensor) -> Tensor:
    """The code vectors with mean zero and unit variance, whatever the scale of the latent map is."""
    centred = vectors - vectors.mean(-2, keepdim=True)
    return centred / centred.std().clamp(min=torch.finfo(centred.dtype).tiny)
