"""One position per step with torch's own operators: on any device, in static buffers, without waiting for the device.

n is the number of codes to draw, W the width, H the number of heads, E = W / H, and G the number of key-value heads.
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
_WIDE = 256
"""Width from which one row is multiplied by packed weights too: a plain product sums all its inputs one after another,
and rounds so much that engines would draw more than one code in a million otherwise (docs/performance.md)."""
_THREADED_FROM = 8
"""Batch from which a CPU step gains from more than one thread."""
_HANDED_OVER_FROM = 2**23
"""Bytes of weights from which a step of a smaller batch is worth handing to a thread of its own kind."""
_SPLIT_FROM = 256
"""The smallest batch whose parts are better run at the same time, each on one thread."""


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
        """The number of parts in which a batch is run."""
        return torch.get_num_threads() if self.weights.on_cpu and batch >= _SPLIT_FROM else 1


class EagerStepper:
    """See `Stepper`. It attends only to the written part of its buffers, and not at all at the first position.

    Args:
        weights: the weights of the prior.
        labels: [B] on the weights' device, None for an unconditional prior.
        batch: B.
        length: n.
    """

    def __init__(self, weights: FoldedWeights, labels: Tensor | None, batch: int, length: int) -> None:
        self.weights = weights
        self.first_input = weights.first_input(labels, batch).clone()
        shape = (len(weights.layers), batch, weights.kv_heads, length, weights.head_size)
        self.keys, self.values = self.first_input.new_empty(shape), self.first_input.new_empty(shape)
        self._open_buffers()

    def keep(self, rows: Tensor) -> None:
        """Go on with only the sequences `rows`."""
        self.first_input = self.first_input[rows]
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]
        self._open_buffers()

    def restart(self, labels: Tensor | None) -> None:
        """Begin another batch of the same shape in the same buffers."""
        self.first_input.copy_(self.weights.first_input(labels, len(self.first_input)))

    def _open_buffers(self) -> None:
        _, batch, groups, length, size = self.keys.shape
        new, heads = self.first_input.new_empty, self.weights.heads
        self.x = new(batch, self.weights.width)
        self.queries, self.attended = (new(batch * groups, heads // groups, size) for _ in range(2))
        self.scores = new(batch * heads * length)
        self.layers = products(self.weights, packed=self._packs(batch))

    def _packs(self, batch: int) -> bool:
        x, pays = self.first_input, batch >= _PACKED_FROM or self.weights.width >= _WIDE
        return x.device.type == "cpu" and x.dtype == torch.float32 and pays and can_pack()

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
        """[B, W + 2 G E] and the buffers of a layer [B, G, n, E], which it extends -> [B, W].

        The heads that share keys and values are the rows of one product.
        """
        batch, groups, length, size = keys.shape
        heads = self.weights.heads
        queries, new_keys, new_values = projected.view(batch, -1, size).split((heads, groups, groups), 1)
        keys[:, :, position] = new_keys
        values[:, :, position] = new_values
        if position == 0:
            return new_values.unsqueeze(2).expand(-1, -1, heads // groups, -1).reshape(batch, -1)
        self.queries.view(batch, heads, size).copy_(queries)
        keys, values = (buffer.view(-1, length, size)[:, : position + 1] for buffer in (keys, values))
        scores = self.scores[: batch * heads * (position + 1)].view(batch * groups, -1, position + 1)
        torch.bmm(self.queries, keys.transpose(1, 2), out=scores)
        torch.softmax(scores, -1, out=scores)
        return torch.bmm(scores, values, out=self.attended).view(batch, -1)


class SplitStepper:
    """See `Stepper`. The parts of a batch run at the same time, each on one thread.

    Large batches gain because the threads work independently. Small batches gain because they do not wait for other
    threads at every operator.

    Args:
        parts: steppers of the parts of the batch, in order.
        sizes: the number of sequences of each part.
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
        """Go on with only the sequences `rows`."""
        first, kept = 0, []
        for part, size in zip(self.parts, self.sizes, strict=True):
            inside = rows[(rows >= first) & (rows < first + size)] - first
            if len(inside):
                part.keep(inside)
                kept.append((part, len(inside)))
            first += size
        self.parts, self.sizes = [part for part, _ in kept], [size for _, size in kept]
