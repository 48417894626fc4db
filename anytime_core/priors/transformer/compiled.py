"""One step compiled by torch.compile: the same code for every position, which attends to the whole padded buffer.

n is the number of codes to draw, W the width, H the number of heads, E = W / H, and G the number of key-value heads.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from anytime_core.errors import AnytimeError
from anytime_core.priors.stepping import Engine
from anytime_core.priors.transformer.model import TransformerPrior
from anytime_core.priors.transformer.weights import FoldedWeights, LayerWeights, fold

_log = logging.getLogger(__name__)

_Step = Callable[..., Tensor]


class CompileEngine(Engine):
    """See `Engine`. It compiles on the first step of each shape and says how long that took."""

    name = "compile"
    precisions: ClassVar[tuple[str, ...]] = ("float32", "bfloat16")

    def __init__(self, prior: TransformerPrior, precision: str = "float32") -> None:
        super().__init__(prior, precision)
        self.weights = fold(prior, torch.float32 if precision == "float32" else torch.bfloat16)
        self.compiled: _Step = torch.compile(_step, dynamic=False)

    def open(self, labels: Tensor | None, batch: int, length: int) -> _CompiledStepper:
        """A stepper of a batch of `length` codes."""
        return _CompiledStepper(self.weights, self.compiled, labels, batch, length)


class _CompiledStepper:
    def __init__(self, weights: FoldedWeights, compiled: _Step, labels: Tensor | None, batch: int, length: int) -> None:
        self.weights, self.compiled = weights, compiled
        self.first_input = weights.first_input(labels, batch)
        shape = (len(weights.layers), batch, weights.kv_heads, length, weights.head_size)
        self.keys, self.values = self.first_input.new_zeros(shape), self.first_input.new_zeros(shape)

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        x = self.first_input + self.weights.positions[position]
        if previous is not None:
            x = x + self.weights.table(position - 1)[previous]
        index = torch.tensor([position], device=x.device)
        started = time.perf_counter()
        try:
            head = self.weights.head(position)
            logits = self.compiled(
                x, index, self.keys, self.values, self.weights.layers, head, self.weights.heads, self.weights.epsilon
            )
        except Exception as error:
            first_line = str(error).partition("\n")[0]
            raise AnytimeError(f"torch.compile does not work here ({first_line}): use --engine eager") from error
        if position == 0:
            _log.info(
                "engine compile: the first step, with its compilation, took %.1f s", time.perf_counter() - started
            )
        return logits

    def keep(self, rows: Tensor) -> None:
        self.first_input = self.first_input[rows]
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]


def _step(
    x: Tensor,
    position: Tensor,
    keys: Tensor,
    values: Tensor,
    layers: Sequence[LayerWeights],
    head: tuple[Tensor, Tensor],
    heads: int,
    epsilon: float,
) -> Tensor:
    """Input [B, W] at `position` [1] and buffers [layers, B, G, n, E], which it extends -> logits [B, K]."""
    batch, width = x.shape
    groups, size = keys.shape[2], keys.shape[4]
    written = (torch.arange(keys.shape[3], device=x.device) <= position).view(1, 1, 1, -1)

    def normalised(x: Tensor) -> Tensor:
        return torch.layer_norm(x, [width], eps=epsilon)

    def affine(x: Tensor, parts: tuple[Tensor, Tensor]) -> Tensor:
        return torch.addmm(parts[1], x, parts[0])

    for layer, layer_keys, layer_values in zip(layers, keys, values, strict=True):
        projected = affine(normalised(x), layer.to_queries_keys_values).view(batch, -1, 1, size)
        queries, new_keys, new_values = projected.split((heads, groups, groups), 1)
        queries = queries.reshape(batch, groups, -1, size)  # heads that share keys are like positions
        layer_keys.index_copy_(2, position, new_keys)
        layer_values.index_copy_(2, position, new_values)
        attended = F.scaled_dot_product_attention(queries, layer_keys, layer_values, attn_mask=written, scale=1.0)
        x = x + affine(attended.reshape(batch, width), layer.project)
        x = x + affine(F.gelu(affine(normalised(x), layer.expand)), layer.shrink)
    return affine(normalised(x), head)
