"""Decoder-only transformer over codes (Vaswani et al. 2017, with normalisation before each sublayer).

If there are fewer key-value heads than heads, groups of heads share keys and values: grouped-query attention
(Ainslie et al. 2023). Layers attend to all positions up to their own, or to some of them: see `patterns`.

n is a prefix length, W the width, H the number of heads, E = W / H, and G the number of key-value heads.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from anytime_core.priors.labels import LabelEmbedding
from anytime_core.priors.sequence.model import SequencePrior
from anytime_core.priors.sequence.positions import GridPositions
from anytime_core.priors.stepping import EngineMaker, ImportedEngine
from anytime_core.priors.transformer.choice import choose_engine
from anytime_core.priors.transformer.config import TransformerConfig, TransformerSection
from anytime_core.priors.transformer.patterns import Pattern, patterns, places_of, slots_of
from anytime_core.quantizers.base import CodeSpec


class TransformerPrior(SequencePrior):
    """See `SequencePrior`; the network is a decoder-only transformer.

    Args:
        config: sizes and dropout.
        spec, code_vectors: see `Prior`.
    """

    kind = "transformer"
    Config = TransformerConfig
    config: TransformerConfig

    def __init__(self, config: TransformerConfig, spec: CodeSpec, code_vectors: Tensor | None = None) -> None:
        position = GridPositions(spec, config.width) if config.grid_positions(spec) else None
        super().__init__(config, spec, code_vectors, width=config.width, position=position)
        self.heads, self.kv_heads = config.heads, config.kv_heads or config.heads
        self.patterns = patterns(config.attention, config.layers, config.block_of(spec), config.summary_of(spec))
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(TransformerBlock(config, self.kv_heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.add_head()
        initialise(self, config.layers)

    @property
    def kept_numbers(self) -> int:
        """See `Prior`: keys and values."""
        slots = slots_of(places_of(self.patterns, self.code_length))
        return 2 * len(self.blocks) * slots * self.config.width * self.kv_heads // self.heads

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

    def features(self, inputs: Tensor) -> Tensor:
        """See `SequencePrior`."""
        x = self.dropout(inputs)
        for block, pattern in zip(self.blocks, self.patterns, strict=True):
            x = block(x, pattern=pattern)
        return self.norm(x)


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

    def forward(self, x: Tensor, mask: Tensor | None = None, *, pattern: Pattern | None = None) -> Tensor:
        """[B, n, W] -> the same shape.

        Positions attend to all positions; or to those where `mask`, which broadcasts to [B, H, n, n], is true; or, with
        a `pattern`, to what it says.
        """
        queries, keys, values = self._split(x)
        dropout = self.dropout if self.training else 0.0
        if pattern is not None:
            return self._join(x, pattern.attend(queries, keys, values, dropout))
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, dropout_p=dropout)
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
