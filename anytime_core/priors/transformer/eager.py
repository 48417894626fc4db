"""One position a step with torch's own operators, on any device, in static buffers, without a host synchronisation.

Letters: B batch, n codes to draw, K codebook size, W width, H heads, E = W / H, F width of the feed-forward layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from anytime_core.priors.stepping import Engine, Stepper
from anytime_core.priors.transformer.model import TransformerPrior
from anytime_core.priors.transformer.products import can_pack, products
from anytime_core.priors.transformer.weights import FoldedWeights, fold
from anytime_core.threads import alone, beside

_PACKED_FROM = 2
"""Batch from which products with packed weights pay on the CPU."""
_THREADED_FROM = 8
"""Batch from which a CPU step gains from more than one thread."""
_HANDED_OVER_FROM = 2**23
"""Bytes of weights from which a step of a smaller batch is worth handing to a thread of its own kind."""
_SPLIT_FROM = 256
"""Batch from which the parts of a batch are better run beside each other, each on one thread."""


class EagerEngine(Engine):
    """See `Engine`."""

    name = "eager"
    precisions: ClassVar[tuple[str, ...]] = ("float32", "bfloat16")

    def __init__(self, prior: TransformerPrior, precision: str = "float32") -> None:
        super().__init__(prior, precision)
        self.weights = fold(prior, torch.float32 if precision == "float32" else torch.bfloat16)

    def open(self, labels: Tensor | None, batch: int, length: int) -> Stepper:
        """A stepper of a batch of `length` codes."""
        sizes = [len(part) for part in torch.arange(batch).chunk(self.parts(batch))]
        split = [None] * len(sizes) if labels is None else labels.split(sizes)
        parts = [EagerStepper(self.weights, *part, length) for part in zip(split, sizes, strict=True)]
        large = self.weights.on_cpu and self.weights.bytes >= _HANDED_OVER_FROM
        single = len(parts) > 1 or (large and batch < _THREADED_FROM)
        return SplitStepper(parts, sizes) if single else parts[0]

    def parts(self, batch: int) -> int:
        """In how many parts a batch is run."""
        return torch.get_num_threads() if self.weights.on_cpu and batch >= _SPLIT_FROM else 1


class EagerStepper:
    """See `Stepper`. Attends to the written part of its buffers only, and not at all at the first position.

    Args:
        weights: of the prior.
        labels: [B] on the weights' device, None for an unconditional prior.
        batch: B.
        length: n.
    """

    def __init__(self, weights: FoldedWeights, labels: Tensor | None, batch: int, length: int) -> None:
        self.weights = weights
        self.first_input = weights.first_input(labels, batch).clone()
        shape = (len(weights.layers), batch, weights.heads, length, weights.width // weights.heads)
        self.keys, self.values = self.first_input.new_empty(shape), self.first_input.new_empty(shape)
        self._open_buffers()

    def keep(self, rows: Tensor) -> None:
        """Go on with the sequences `rows` only."""
        self.first_input = self.first_input[rows]
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]
        self._open_buffers()

    def restart(self, labels: Tensor | None) -> None:
        """Begin another batch of the same shape, in the same buffers."""
        self.first_input.copy_(self.weights.first_input(labels, len(self.first_input)))

    def _open_buffers(self) -> None:
        _, batch, heads, length, size = self.keys.shape
        new = self.first_input.new_empty
        self.x = new(batch, self.weights.width)
        self.queries, self.attended = new(batch, heads, size), new(batch * heads, 1, size)
        self.scores = new(batch * heads * length)
        self.layers = products(self.weights, packed=self._packs(batch))

    def _packs(self, batch: int) -> bool:
        x = self.first_input
        return x.device.type == "cpu" and x.dtype == torch.float32 and batch >= _PACKED_FROM and can_pack()

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        """Logits [B, K] of the code at `position`."""
        x = self._input(position, previous)
        for layer, keys, values in zip(self.layers, self.keys, self.values, strict=True):
            projected = layer.to_queries_keys_values.apply(self._normalised(x))
            x = layer.project.add_to(x, self._attend(projected, keys, values, position))
            x = layer.shrink.add_to(x, layer.expand.gelu(self._normalised(x)))
        matrix, bias = self.weights.head(position)
        return torch.addmm(bias, self._normalised(x), matrix)

    def _input(self, position: int, previous: Tensor | None) -> Tensor:
        if previous is None:
            return torch.add(self.first_input, self.weights.positions[position], out=self.x)
        torch.index_select(self.weights.table(position - 1), 0, previous, out=self.x)
        return self.x.add_(self.first_input).add_(self.weights.positions[position])

    def _normalised(self, x: Tensor) -> Tensor:
        return torch.layer_norm(x, x.shape[-1:], eps=self.weights.epsilon)

    def _attend(self, projected: Tensor, keys: Tensor, values: Tensor, position: int) -> Tensor:
        """[B, 3 W] and the buffers of a layer, [B, H, n, E], which it extends -> [B, W]."""
        batch, heads, length, size = keys.shape
        queries, new_keys, new_values = projected.view(batch, 3, heads, size).unbind(1)
        keys[:, :, position] = new_keys
        values[:, :, position] = new_values
        if position == 0:
            return new_values.reshape(batch, -1)
        self.queries.copy_(queries)
        keys, values = (buffer.view(-1, length, size)[:, : position + 1] for buffer in (keys, values))
        scores = self.scores[: batch * heads * (position + 1)].view(-1, 1, position + 1)
        torch.bmm(self.queries.view(-1, 1, size), keys.transpose(1, 2), out=scores)
        torch.softmax(scores, -1, out=scores)
        return torch.bmm(scores, values, out=self.attended).view(batch, -1)


class SplitStepper:
    """See `Stepper`. A batch whose parts run beside each other, each on one thread.

    Large batches gain from working apart, and small ones from not waiting for other threads at every operator.

    Args:
        parts: steppers of the parts of the batch, in order.
        sizes: how many sequences each has.
    """

    def __init__(self, parts: Sequence[Stepper], sizes: list[int]) -> None:
        self.parts, self.sizes = list(parts), sizes

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        """Logits [B, K] of the code at `position`."""
        if len(self.parts) == 1:
            return alone(partial(self.parts[0].step, position, previous))
        split = [None] * len(self.parts) if previous is None else previous.split(self.sizes)
        works = [partial(part.step, position, codes) for part, codes in zip(self.parts, split, strict=True)]
        return torch.cat(beside(works))

    def keep(self, rows: Tensor) -> None:
        """Go on with the sequences `rows` only."""
        first, kept = 0, []
        for part, size in zip(self.parts, self.sizes, strict=True):
            inside = rows[(rows >= first) & (rows < first + size)] - first
            if len(inside):
                part.keep(inside)
                kept.append((part, len(inside)))
            first += size
        self.parts, self.sizes = [part for part, _ in kept], [size for _, size in kept]
