"""Engines of order-agnostic priors: one network call draws a group of codes.

Letters: B batch, N code length, n codes that are wanted, R values of a digit, G numbers of noise a code, q rows asked.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Protocol

import torch
from torch import Tensor

from anytime_core.errors import UsageError
from anytime_core.priors import ARDMPrior
from anytime_core.sampling.draw import Filter, draw_codes
from anytime_core.sampling.engines.capture import capturing, require_cuda, warm_up
from anytime_core.sampling.guidance import guided, with_null_labels

_KEPT = 4
"""Shapes whose graphs are kept, with their buffers."""


@dataclass(frozen=True)
class Group:
    """What one call draws.

    Attributes:
        stage: of the digit, from 0.
        known: rows of the order that have this digit already.
        size: how many further ones get it.
        certain: whether the ones that the prior is most certain of are moved to the front of the order.
    """

    stage: int
    known: int
    size: int
    certain: bool


@dataclass
class PartialCodes:
    """A batch that is being drawn; calls change it in place.

    Attributes:
        tokens: [B, N], what is known of each code, see `Digits`.
        order: [B, n], positions in the order in which they are drawn.
        noise: [B, n, G], Gumbel noise by position, the values of one digit after those of the other.
        labels: [B], None for an unconditional prior.
    """

    tokens: Tensor
    order: Tensor
    noise: Tensor
    labels: Tensor | None


class CallEngine(Protocol):
    """Draws codes from one order-agnostic prior, which lives on the device it is run on."""

    def open(self, partial: PartialCodes) -> PartialCodes:
        """What `call` is to be given for this batch: itself, or buffers with its values."""
        ...

    def call(self, partial: PartialCodes, group: Group, filtering: Filter) -> None:
        """Draw one group."""
        ...


Logits = Callable[[PartialCodes, Group, slice], Tensor]
"""Of the rows of the order that are asked for, [B, q, R]."""


class _Calls(ABC):
    """See `CallEngine`: an engine that differs from others in how it finds logits.

    Args:
        prior: in evaluation mode.
        precision: one of `precisions`.
    """

    name: str
    precisions: tuple[str, ...] = ("float32",)

    def __init__(self, prior: ARDMPrior, precision: str) -> None:
        if precision not in self.precisions:
            known = ", ".join(self.precisions)
            raise UsageError(f"engine '{self.name}' has no precision '{precision}' for this prior: use {known}")
        self.prior = prior if precision == "float32" else copy.deepcopy(prior).to(torch.bfloat16)

    def open(self, partial: PartialCodes) -> PartialCodes:
        """See `CallEngine`."""
        return partial

    @torch.inference_mode()
    def call(self, partial: PartialCodes, group: Group, filtering: Filter) -> None:
        """See `CallEngine`."""
        _draw(self.prior, self._logits, partial, group, filtering)

    @abstractmethod
    def _logits(self, partial: PartialCodes, group: Group, asked: slice) -> Tensor:
        """Of the rows of the order that are asked for, [B, q, R]."""


class PlainCalls(_Calls):
    """The reference: all positions through the network at every call."""

    name = "plain"

    def _logits(self, partial: PartialCodes, group: Group, asked: slice) -> Tensor:
        logits = self.prior.logits(partial.tokens, group.stage, partial.labels)
        return _at(logits, partial.order[:, asked])


class EagerCalls(_Calls):
    """Only what is known and what is asked for goes through the network, in float32 or bfloat16."""

    name = "eager"
    precisions = ("float32", "bfloat16")

    def _logits(self, partial: PartialCodes, group: Group, asked: slice) -> Tensor:
        # From the second digit on something is known of every position.
        rows = partial.order if group.stage else partial.order[:, : asked.stop]
        seen = rows.shape[1] if group.stage else group.known
        tokens = partial.tokens.gather(1, rows)
        return self.prior.logits_at(tokens, rows, seen, asked, group.stage, partial.labels)


class GraphCalls(EagerCalls):
    """The calls of a plan as CUDA graphs, each captured when it is first made, and replayed from then on."""

    name = "graph"

    def __init__(self, prior: ARDMPrior, precision: str) -> None:
        require_cuda(prior.position.weight.device)
        super().__init__(prior, precision)
        self._captured: OrderedDict[tuple[torch.Size, ...], _Captured] = OrderedDict()

    def open(self, partial: PartialCodes) -> PartialCodes:
        """See `CallEngine`: static buffers of this shape, with the values of `partial`."""
        shape = (partial.tokens.shape, partial.noise.shape)
        if shape not in self._captured:
            self._captured[shape] = _Captured(copy.deepcopy(partial), {})
            if len(self._captured) > _KEPT:
                self._captured.popitem(last=False)
        self._captured.move_to_end(shape)
        buffers = self._captured[shape].buffers
        for field in fields(partial):
            value = getattr(partial, field.name)
            if value is not None:
                getattr(buffers, field.name).copy_(value)
        return buffers

    @torch.inference_mode()
    def call(self, partial: PartialCodes, group: Group, filtering: Filter) -> None:
        """See `CallEngine`; `partial` is what `open` has given."""
        captured = self._captured[partial.tokens.shape, partial.noise.shape]
        with torch.cuda.device(partial.tokens.device):
            if (group, filtering) not in captured.graphs:
                captured.graphs[group, filtering] = self._capture(partial, group, filtering)
            captured.graphs[group, filtering].replay()

    def _capture(self, partial: PartialCodes, group: Group, filtering: Filter) -> torch.cuda.CUDAGraph:
        tokens, order = partial.tokens.clone(), partial.order.clone()
        call = super().call
        with capturing(f"a call for a batch of {len(partial.tokens)}"):
            warm_up(lambda: call(partial, group, filtering))
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                call(partial, group, filtering)
        partial.tokens.copy_(tokens)
        partial.order.copy_(order)
        return graph


@dataclass(frozen=True)
class _Captured:
    buffers: PartialCodes
    graphs: dict[tuple[Group, Filter], torch.cuda.CUDAGraph]


def _draw(prior: ARDMPrior, logits_of: Logits, partial: PartialCodes, group: Group, filtering: Filter) -> None:
    """Draw a group: all rows of it as they come in the order, or the most certain of all that are left."""
    wanted = partial.order.shape[1]
    chooses = group.certain and group.known + group.size < wanted
    asked = slice(group.known, wanted if chooses else group.known + group.size)
    logits = _guided_logits(prior, logits_of, partial, group, asked, filtering).float()
    positions = partial.order[:, asked]
    if chooses:
        # Most certain is the smallest entropy; -inf stands for values that no code has.
        probabilities = logits.softmax(-1)
        entropy = torch.special.entr(probabilities).sum(-1)
        ranks = entropy.argsort(dim=1, stable=True)
        ranked = positions.gather(1, ranks)
        partial.order[:, asked] = ranked
        logits, positions = _at(logits, ranks[:, : group.size]), ranked[:, : group.size]
    noise = _at(partial.noise, positions)
    first = sum(prior.digits.radices[: group.stage])
    noise = noise[..., first : first + prior.digits.radices[group.stage]]
    values = draw_codes(logits.flatten(0, 1), noise.flatten(0, 1), filtering).view(positions.shape)
    tokens = prior.digits.next_tokens(partial.tokens.gather(1, positions), group.stage)
    partial.tokens.scatter_(1, positions, tokens + values)


def _guided_logits(
    prior: ARDMPrior, logits_of: Logits, partial: PartialCodes, group: Group, asked: slice, filtering: Filter
) -> Tensor:
    """[B, q, R] of the rows of the order that are asked for."""
    if not filtering.guided:
        return logits_of(partial, group, asked)
    both = replace(
        partial,
        tokens=partial.tokens.repeat(2, 1),
        order=partial.order.repeat(2, 1),
        labels=with_null_labels(prior, partial.labels),
    )
    return guided(logits_of(both, group, asked), filtering.guidance)


def _at(values: Tensor, positions: Tensor) -> Tensor:
    """[B, N, X] at [B, q] -> [B, q, X]."""
    return values.gather(1, positions.unsqueeze(-1).expand(-1, -1, values.shape[-1]))
