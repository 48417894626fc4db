"""Decoder-only transformer over codes (Vaswani et al. 2017, with normalisation before each sublayer).

If there are fewer key-value heads than heads, groups of heads share keys and values: grouped-query attention
(Ainslie et al. 2023).

n is a prefix length, W the width, H the number of heads, E = W / H, and G the number of key-value heads.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anytime_core.priors.base import CausalPrior
from anytime_core.priors.labels import LabelEmbedding
from anytime_core.priors.stepping import EngineMaker, ImportedEngine
from anytime_core.priors.transformer.choice import choose_engine
from anytime_core.priors.transformer.config import TransformerConfig, TransformerSection
from anytime_core.quantizers.base import CodeSpec


class TransformerPrior(CausalPrior):
    """Models each code given the codes before it and, if there are classes, a label.

    With `config.code_vectors` the quantizer's table, frozen and standardised, tells it which codes look alike: the
    vector of a code is a further input beside its embedding, and logits also depend on how well the vectors fit what
    the prior expects.

    Args:
        config: sizes and dropout.
        spec, code_vectors: see `Prior`.
    """

    kind = "transformer"
    Config = TransformerConfig
    vectors: Tensor | None

    def __init__(self, config: TransformerConfig, spec: CodeSpec, code_vectors: Tensor | None = None) -> None:
        super().__init__(config, spec)
        code_vectors = code_vectors if config.code_vectors else None
        self.heads, self.kv_heads = config.heads, config.kv_heads or config.heads
        self.token = nn.Embedding(self.codebook_size, config.width)
        self.position = nn.Embedding(spec.length, config.width)
        self.start = LabelEmbedding(spec.classes, config.width, config.label_dropout)
        self.register_buffer("vectors", None if code_vectors is None else standardised(code_vectors))
        if code_vectors is not None:
            self.from_vector = nn.Linear(code_vectors.shape[-1], config.width)
            self.to_vector = nn.Linear(config.width, code_vectors.shape[-1], bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(TransformerBlock(config, self.kv_heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, self.codebook_size)
        initialise(self, config.layers)

    @property
    def null_label(self) -> int | None:
        """See `Prior`."""
        return self.start.null_label

    @property
    def kept_numbers(self) -> int:
        """See `Prior`: keys and values."""
        return 2 * len(self.blocks) * self.code_length * self.position.embedding_dim * self.kv_heads // self.heads

    @classmethod
    def engines(cls) -> Mapping[str, EngineMaker]:
        """See `CausalPrior`. The modules of engines are imported when an engine is made."""
        package, both = "anytime_core.priors.transformer", ("float32", "bfloat16")
        return {
            **super().engines(),
            "eager": ImportedEngine(f"{package}.eager:EagerEngine", both),
            "numba": ImportedEngine(f"{package}.numba:NumbaEngine", ("float32", "int8")),
            "exact": ImportedEngine(f"{package}.exact:ExactEngine"),
            "graph": ImportedEngine(f"{package}.graph:GraphEngine", both),
            "compile": ImportedEngine(f"{package}.compiled:CompileEngine", both),
        }

    def fastest_engine(self, precision: str, batch: int, multiply_adds: float) -> str:
        """See `Prior`."""
        return choose_engine(self.device, precision, batch, multiply_adds)

    def conditionals(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """Logits [B, n + 1, K] of the codes at positions 0..n, given the first n codes, `codes` [B, n]."""
        start = self.start(labels, len(codes)).unsqueeze(1)
        x = torch.cat([start, self._embed(codes) + start], 1) + self.position.weight[: codes.shape[1] + 1]
        x = self.dropout(x)  # [B, n + 1, W]
        for block in self.blocks:
            x = block(x, causal=True)
        return self._score(x)

    def _embed(self, codes: Tensor) -> Tensor:
        """The first n codes [B, n] -> [B, n, W]."""
        x = self.token(codes)
        if self.vectors is None:
            return x
        if self.vectors.ndim == 2:
            return x + self.from_vector(self.vectors[codes])
        positions = torch.arange(codes.shape[1], device=codes.device)
        return x + self.from_vector(self.vectors[positions, codes])

    def _score(self, x: Tensor) -> Tensor:
        """Features [B, n, W] at the first n positions -> logits [B, n, K]."""
        x = self.norm(x)
        logits = self.head(x)
        if self.vectors is None:
            return logits
        expected = self.to_vector(x)  # [B, n, D]
        if self.vectors.ndim == 2:
            return logits + expected @ self.vectors.T
        return logits + torch.einsum("bnd,nkd->bnk", expected, self.vectors[: x.shape[1]])


class TransformerBlock(nn.Module):
    """Attention and feed-forward layer, each added to the residual stream.

    Args:
        config: sizes and dropout.
        kv_heads: G, which divides `config.heads`; None: as many.
    """

    def __init__(self, config: TransformerSection, kv_heads: int | None = None) -> None:
        super().__init__()
        width, hidden = config.width, config.width * config.feedforward
        self.heads, self.kv_heads, self.dropout = config.heads, kv_heads or config.heads, config.dropout
        self.size = width // self.heads
        self.attention_norm, self.feedforward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, width + 2 * self.kv_heads * self.size)
        self.project = nn.Linear(width, width)
        self.expand = nn.Linear(width, hidden)
        self.shrink = nn.Linear(hidden, width)

    def forward(self, x: Tensor, mask: Tensor | None = None, *, causal: bool = False) -> Tensor:
        """[B, n, W] -> the same shape.

        Positions attend to all positions; or to those where `mask`, which broadcasts to [B, H, n, n], is true; or, if
        `causal`, to themselves and those before them.
        """
        queries, keys, values = self._split(x)
        dropout = self.dropout if self.training else 0.0
        grouped = self.kv_heads < self.heads
        attended = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, dropout_p=dropout, is_causal=causal, enable_gqa=grouped
        )
        return self._join(x, attended)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, n, W] -> queries [B, H, n, E], keys and values [B, G, n, E]; head h reads key-value head h // (H / G)."""
        projected = self.queries_keys_values(self.attention_norm(x)).unflatten(-1, (-1, self.size)).transpose(1, 2)
        queries, keys, values = projected.split((self.heads, self.kv_heads, self.kv_heads), 1)
        return queries, keys, values

    def _join(self, x: Tensor, attended: Tensor) -> Tensor:
        attended = attended.transpose(1, 2).flatten(2)  # [B, n, W]
        x = x + F.dropout(self.project(attended), self.dropout, self.training)
        hidden = F.gelu(self.expand(self.feedforward_norm(x)))
        return x + F.dropout(self.shrink(hidden), self.dropout, self.training)


def initialise(prior: nn.Module, layers: int) -> None:
    """Set weights to a standard deviation of 0.02 and biases to zero (GPT-2). Logits ignore code vectors at first."""
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
    """The code vectors with mean zero and unit variance, for any scale of the latent map."""
    centred = vectors - vectors.mean(-2, keepdim=True)
    return centred / centred.std().clamp(min=torch.finfo(centred.dtype).tiny)
