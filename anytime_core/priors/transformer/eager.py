"""One position per step with torch's own operators: on any device, in static buffers, without waiting for the device.

n is the number of codes to draw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from anytime_core.priors.sequence.products import can_pack
from anytime_core.priors.stepping import Engine, Stepper
from anytime_core.priors.transformer.attention import Attention, BatchedAttention
from anytime_core.priors.transformer.model import TransformerPrior
from anytime_core.priors.transformer.products import products
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
_ROWS_OF_A_PART, _ROWS_OF_A_PLAIN_PART = 32, 128
"""Rows from which a thread is better given a part of the batch for itself, with packed weights and without."""

AttentionMaker = Callable[[FoldedWeights, int, int], Attention]
"""Makes the attention of a batch of B sequences of n codes."""


class EagerEngine(Engine):
    """See `Engine`."""

    name = "eager"
    precisions: ClassVar[tuple[str, ...]] = ("float32", "bfloat16")

    def __init__(self, prior: TransformerPrior, precision: str = "float32") -> None:
        super().__init__(prior, precision)
        self.weights = fold(prior, torch.float32 if precision == "float32" else torch.bfloat16)

    def open(self, labels: Tensor | None, batch: int, length: int) -> Stepper:
        """A stepper of a batch of `length` codes."""
        return open_batch(self.weights, labels, batch, length)


def open_batch(
    weights: FoldedWeights,
    labels: Tensor | None,
    batch: int,
    length: int,
    attention: AttentionMaker = BatchedAttention,
) -> Stepper:
    """A stepper of a batch of `length` codes, in parts if it is large enough for all threads.

    Args:
        weights: the weights of the prior.
        labels: [B] on the weights' device, None for an unconditional prior.
        batch: B.
        length: n.
        attention: the attention of what runs on one thread.
    """
    threads = torch.get_num_threads()
    number = parts(weights, batch)
    sizes = [len(part) for part in torch.arange(batch).chunk(number)]
    split = [None] * len(sizes) if labels is None else labels.split(sizes)
    make = attention if number > 1 or threads == 1 else BatchedAttention
    steppers = [EagerStepper(weights, *part, length, make) for part in zip(split, sizes, strict=True)]
    large = weights.on_cpu and weights.bytes >= _HANDED_OVER_FROM
    single = number > 1 or (large and batch < _THREADED_FROM)
    return SplitStepper(steppers, sizes) if single else steppers[0]


def parts(weights: FoldedWeights, batch: int) -> int:
    """The number of parts in which a batch is run: one, or one for each thread."""
    threads = torch.get_num_threads()
    rows = _ROWS_OF_A_PART if _packs(weights, batch) else _ROWS_OF_A_PLAIN_PART
    return threads if weights.on_cpu and batch >= threads * rows else 1


def _packs(weights: FoldedWeights, batch: int) -> bool:
    pays = batch >= _PACKED_FROM or weights.width >= _WIDE
    return weights.on_cpu and weights.positions.dtype == torch.float32 and pays and can_pack()


class EagerStepper:
    """See `Stepper`.

    Args:
        weights: the weights of the prior.
        labels: [B] on the weights' device, None for an unconditional prior.
        batch: B.
        length: n.
        attention: makes the attention.
    """

    def __init__(
        self,
        weights: FoldedWeights,
        labels: Tensor | None,
        batch: int,
        length: int,
        attention: AttentionMaker = BatchedAttention,
    ) -> None:
        self.weights = weights
        self.first_input = weights.first_input(labels, batch).clone()
        self.attention = attention(weights, batch, length)
        self._open_buffers()

    def keep(self, rows: Tensor) -> None:
        """Go on with only the sequences `rows`."""
        self.first_input = self.first_input[rows]
        self.attention.keep(rows)
        self._open_buffers()

    def _open_buffers(self) -> None:
        self.x = torch.empty_like(self.first_input)
        self.layers = products(self.weights, packed=_packs(self.weights, len(self.x)))

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        """Logits [B, K] of the code at `position`."""
        x = self._input(position, previous)
        for number, layer in enumerate(self.layers):
            projected = layer.to_queries_keys_values.apply(self._normalised(x))
            x = layer.project.add_to(x, self.attention.attend(number, projected, position))
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
