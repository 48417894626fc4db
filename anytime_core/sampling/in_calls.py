"""Drawing from order-agnostic priors: groups of codes by a plan, in an order that belongs to the sample.

n is the number of codes that are wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from anytime_core.priors.any_order.base import AnyOrderPrior
from anytime_core.priors.any_order.calls import CallEngine, Group, PartialCodes
from anytime_core.priors.any_order.plan import Plan
from anytime_core.sampling.options import SamplingOptions

_ORDERS = 2**192
"""Where the stream of a sample's order begins, far from the stream of its noise."""

OnCall = Callable[[int, int], bool]
"""Called after each call with the number of calls and of whole codes; true draws the rest in one call per stage."""


def sample_orders(seed: int, indices: Sequence[int], length: int) -> Tensor:
    """The orders in which samples draw their first `length` codes, [B, n].

    They follow from the seed and the samples' global indices, like the noise. The order of fewer codes is the order of
    more codes without the codes that are left out.
    """
    keys = (np.array([seed, index], dtype=np.uint64) for index in indices)
    streams = (np.random.Generator(np.random.Philox(key=key, counter=_ORDERS)) for key in keys)
    return torch.from_numpy(np.stack([np.argsort(stream.random(length), kind="stable") for stream in streams]))


def draw_in_calls(
    engine: CallEngine,
    partial: PartialCodes,
    known: int,
    plan: Plan,
    options: SamplingOptions,
    *,
    on_call: OnCall = lambda calls, codes: False,
) -> tuple[Tensor, int]:
    """Draw the missing codes of a batch.

    Args:
        engine: the engine of the prior.
        partial: the batch; the first `known` codes in its order are whole.
        known: how many of the n codes are known from the start.
        plan: the plan for the other codes.
        options: how codes are drawn. With plan `certain` each call draws the codes that the prior is most certain of,
            not the next ones in the order.
        on_call: see `OnCall`.

    Returns:
        Codes [B, N], 0 where nothing was asked for, and the number of calls.
    """
    certain, shaping = options.plan == "certain", options.shaping
    wanted, stages, calls, hurries = partial.order.shape[1], len(plan.stages), 0, False
    with engine.open(partial) as opened:
        for stage, sizes in enumerate(plan.stages):
            left, done = list(sizes), known
            while left:
                size = wanted - done if hurries else left.pop(0)
                engine.call(opened, Group(stage, done, size, certain), shaping, options.guidance)
                done += size
                calls += 1
                whole = done if stage == stages - 1 else known
                hurries = on_call(calls, whole) or hurries
                if done == wanted:
                    break
        return whole_codes(engine.prior, opened.tokens), calls


def whole_codes(prior: AnyOrderPrior, tokens: Tensor) -> Tensor:
    """The codes of tokens that say a whole code, 0 for tokens that say nothing."""
    return (tokens - prior.digits.first_tokens[-1]).clamp(min=0)
