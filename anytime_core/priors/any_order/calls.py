"""Engines of order-agnostic priors: one network call draws a group of codes.

n is the number of codes that are wanted, R the number of values of a digit, G the number of noise numbers of a code, q
the number of rows whose logits are asked for.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from anytime_core.capture import Captured, Pool, capture, warm_up
from anytime_core.priors.any_order.base import AnyOrderPrior
from anytime_core.priors.heads import Categorical
from anytime_core.priors.shaping import Shaping
from anytime_core.priors.stepping import UNCAPTURED, PriorEngine, require_graphs

_MOST_GRAPHS = 64
"""How many calls are captured for the buffers of a batch; further ones start their kernels each time."""


@dataclass(frozen=True)
class Group:
    """What one call draws.

    Attributes:
        stage: the stage of the digit, from 0.
        known: how many codes in the order have this digit already.
        size: how many more get it.
        certain: whether the codes that the prior is most certain of are moved to the front of the order.
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
        order: [B, n], the positions in the order in which they are drawn.
        noise: [B, n, G], Gumbel noise by position, for the values of one digit after another.
        labels: [B], None for an unconditional prior.
    """

    tokens: Tensor
    order: Tensor
    noise: Tensor
    labels: Tensor | None


class CallEngine(PriorEngine):
    """A way to make the calls of an order-agnostic prior. Engines differ in how they compute logits."""

    def __init__(self, prior: AnyOrderPrior, precision: str = "float32") -> None:
        super().__init__(prior, precision)
        if precision != "float32":
            self.prior = copy.deepcopy(prior).to(torch.bfloat16)

    @contextlib.contextmanager
    def open(self, partial: PartialCodes) -> Iterator[PartialCodes]:
        """Yield what `call` takes for this batch: the batch itself, or buffers with its values for this batch alone."""
        yield partial

    @torch.inference_mode()
    def call(self, partial: PartialCodes, group: Group, shaping: Shaping, guidance: float = 1.0) -> None:
        """Draw one group: the next codes in the order, or the most certain of all that are left."""
        wanted, digits = partial.order.shape[1], self.prior.digits
        chooses = group.certain and group.known + group.size < wanted
        asked = slice(group.known, wanted if chooses else group.known + group.size)
        head = Categorical(digits.radices[group.stage])
        logits = self._guided_logits(partial, group, asked, head, guidance).float()
        positions = partial.order[:, asked]
        if chooses:
            # Most certain is the smallest entropy.
            ranks = head.entropy(logits).argsort(dim=1, stable=True)
            ranked = positions.gather(1, ranks)
            partial.order[:, asked] = ranked
            logits, positions = _at(logits, ranks[:, : group.size]), ranked[:, : group.size]
        noise = _at(partial.noise, positions)
        first = sum(digits.radices[: group.stage])
        noise = noise[..., first : first + head.size]
        values = head.draw(logits.flatten(0, 1), noise.flatten(0, 1), shaping).view(positions.shape)
        tokens = digits.next_tokens(partial.tokens.gather(1, positions), group.stage)
        partial.tokens.scatter_(1, positions, tokens + values)

    def _guided_logits(
        self, partial: PartialCodes, group: Group, asked: slice, head: Categorical, guidance: float
    ) -> Tensor:
        """Logits [B, q, R] of the codes in the order that are asked for."""
        if guidance == 1:
            return self._logits(partial, group, asked)
        both = PartialCodes(
            tokens=partial.tokens.repeat(2, 1),
            order=partial.order.repeat(2, 1),
            noise=partial.noise,
            labels=self.prior.with_null_labels(partial.labels),
        )
        return head.guided(self._logits(both, group, asked), guidance)

    @abstractmethod
    def _logits(self, partial: PartialCodes, group: Group, asked: slice) -> Tensor:
        """Logits [B, q, R] of the codes in the order that are asked for, without guidance."""


class PlainCalls(CallEngine):
    """The reference: all positions go through the network at every call."""

    name = "plain"

    def _logits(self, partial: PartialCodes, group: Group, asked: slice) -> Tensor:
        logits = self.prior.logits(partial.tokens, group.stage, partial.labels)
        return _at(logits, partial.order[:, asked])


class EagerCalls(CallEngine):
    """Only codes that are known or asked for go through the network, in float32 or bfloat16."""

    name = "eager"
    precisions = ("float32", "bfloat16")

    def _logits(self, partial: PartialCodes, group: Group, asked: slice) -> Tensor:
        # From the second digit on something is known of every position.
        rows = partial.order if group.stage else partial.order[:, : asked.stop]
        seen = rows.shape[1] if group.stage else group.known
        tokens = partial.tokens.gather(1, rows)
        return self.prior.logits_at(tokens, rows, seen, asked, group.stage, partial.labels)


class GraphCalls(EagerCalls):
    """The calls of a plan as CUDA graphs, each captured when it is first made, and replayed from then on.

    It pays where few calls are made again and again, as capturing one takes as long as two. One batch uses buffers and
    graphs at a time, and the next batch of its shape uses them again.
    """

    name = "graph"

    def __init__(self, prior: AnyOrderPrior, precision: str = "float32") -> None:
        require_graphs(prior.device)
        super().__init__(prior, precision)
        self._pool: Pool[_Buffers] = Pool()

    @contextlib.contextmanager
    def open(self, partial: PartialCodes) -> Iterator[PartialCodes]:
        """See `CallEngine`."""
        shape = (partial.tokens.shape, partial.order.shape, partial.noise.shape)

        def make() -> _Buffers:
            labels = None if partial.labels is None else partial.labels.clone()
            return _Buffers(partial.tokens.clone(), partial.order.clone(), partial.noise.clone(), labels)

        with self._pool.lent([shape], make) as buffers:
            buffers.take(partial)
            yield buffers

    @torch.inference_mode()
    def call(self, partial: PartialCodes, group: Group, shaping: Shaping, guidance: float = 1.0) -> None:
        """See `CallEngine`; `partial` comes from `open`."""
        assert isinstance(partial, _Buffers)
        key = (group, shaping, guidance)
        if key not in partial.graphs:
            if len(partial.graphs) == _MOST_GRAPHS:
                super().call(partial, group, shaping, guidance)
                return
            partial.graphs[key] = self._capture(partial, *key)
        partial.graphs[key].replay()

    def _capture(self, partial: _Buffers, group: Group, shaping: Shaping, guidance: float) -> Captured[None]:
        tokens, order, device = partial.tokens.clone(), partial.order.clone(), partial.tokens.device
        work = functools.partial(super().call, partial, group, shaping, guidance)
        warm_up(work, device)
        beside = next(iter(partial.graphs.values()), None)
        captured = capture(work, device, what=f"a call for a batch of {len(tokens)}", way_out=UNCAPTURED, beside=beside)
        partial.tokens.copy_(tokens)
        partial.order.copy_(order)
        return captured


@dataclass
class _Buffers(PartialCodes):
    """A batch in static buffers, and the graphs that read and write them."""

    graphs: dict[tuple[Group, Shaping, float], Captured[None]] = field(default_factory=dict)

    def take(self, partial: PartialCodes) -> None:
        """Take another batch of the same shape."""
        for name in ("tokens", "order", "noise", "labels"):
            value = getattr(partial, name)
            if value is not None:
                getattr(self, name).copy_(value)


CallEngineMaker = type[CallEngine]
CALL_ENGINES: dict[str, CallEngineMaker] = {engine.name: engine for engine in (PlainCalls, EagerCalls, GraphCalls)}
"""Engines of order-agnostic priors by name."""


def _at(values: Tensor, positions: Tensor) -> Tensor:
    """[B, N, X] at [B, q] -> [B, q, X]."""
    return values.gather(1, positions.unsqueeze(-1).expand(-1, -1, values.shape[-1]))
