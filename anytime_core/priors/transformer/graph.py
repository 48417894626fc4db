"""Steps whose position is read from device memory, so that CUDA graphs of a few of them draw any code.

n is the number of codes to draw, W the width, H the number of heads, and E = W / H.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from anytime_core.capture import require_capture
from anytime_core.priors.stepping import CapturedEngine
from anytime_core.priors.transformer.eager import EagerStepper
from anytime_core.priors.transformer.model import TransformerPrior
from anytime_core.priors.transformer.weights import FoldedWeights, fold


class GraphEngine(CapturedEngine):
    """See `Engine`. The prior must be on a CUDA device."""

    name = "graph"
    precisions: ClassVar[tuple[str, ...]] = ("float32", "bfloat16")

    def __init__(self, prior: TransformerPrior, precision: str = "float32") -> None:
        require_capture(prior.device, what="engine 'graph'", way_out="use --device cuda, or --engine eager")
        super().__init__(prior, precision)
        self.weights = fold(prior, torch.float32 if precision == "float32" else torch.bfloat16)

    def open(self, labels: Tensor | None, batch: int, length: int) -> GraphStepper:
        """A stepper of a batch of `length` codes."""
        return GraphStepper(self.weights, labels, batch, length)


class GraphStepper(EagerStepper):
    """See `CapturableStepper`: captured steps attend to the whole buffers, masked to what is written."""

    def __init__(self, weights: FoldedWeights, labels: Tensor | None, batch: int, length: int) -> None:
        super().__init__(weights, labels, batch, length)
        self.keys.zero_()
        self.values.zero_()
        self.tables, self.matrices, self.biases = weights.once(
            ("by position", length), lambda: _stacked(weights, length)
        )

    def step_at(self, position: Tensor, previous: Tensor) -> Tensor:
        """Logits [B, K] of the code at `position`."""
        batch, width = self.first_input.shape
        told = _at(self.tables, position - 1)[previous] * (position > 0)
        x = told + self.first_input + _at(self.weights.positions, position)
        written = (torch.arange(self.keys.shape[3], device=x.device) <= position).unsqueeze(0)
        for layer, keys, values in zip(self.weights.layers, self.keys, self.values, strict=True):
            projected = self._affine(self._normalised(x), layer.to_queries_keys_values)
            queries, new_keys, new_values = projected.view(batch, 3, -1, 1, keys.shape[-1]).unbind(1)
            keys.index_copy_(2, position, new_keys)
            values.index_copy_(2, position, new_values)
            attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=written, scale=1.0)
            x = x + self._affine(attended.reshape(batch, width), layer.project)
            x = x + self._affine(F.gelu(self._affine(self._normalised(x), layer.expand)), layer.shrink)
        return self._affine(self._normalised(x), (_at(self.matrices, position), _at(self.biases, position)))

    def _affine(self, x: Tensor, parts: tuple[Tensor, Tensor]) -> Tensor:
        return torch.addmm(parts[1], x, parts[0])


def _stacked(weights: FoldedWeights, length: int) -> tuple[Tensor, Tensor, Tensor]:
    """Tables [n, K, W], matrices [n, W, K] and biases [n, K] by position; one of each if they are all the same."""
    same = length == 1 or weights.table(0) is weights.table(1)
    positions = range(1 if same else length)
    heads = [weights.head(position) for position in positions]
    tables = torch.stack([weights.table(position) for position in positions])
    return tables, torch.stack([matrix for matrix, _ in heads]), torch.stack([bias for _, bias in heads])


def _at(values: Tensor, position: Tensor) -> Tensor:
    """The entry of [n, ...] at `position`; of [1, ...] the only one."""
    return values[0] if len(values) == 1 else values.index_select(0, position.clamp(min=0)).squeeze(0)
