"""Drawing from order-agnostic priors: groups of codes by a plan, in an order that belongs to the sample.

Letters: B batch, N code length, n codes that are wanted, m of them known from the start, S stages.
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
"""Where the stream of a sample's order begins, far from that of its noise."""

OnCall = Callable[[int, int], bool]
"""Called after each call with the number of calls and of whole codes; true asks for the rest in one call a stage."""


def sample_orders(seed: int, indices: Sequence[int], length: int) -> Tensor:
    """The orders in which samples draw their first `length` codes, [B, n].

    They follow from the seed and the samples' global indices, as the noise does; the order of fewer codes is that of
    more of them without those that are left out.
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
    """Draw what is missing of a batch.

    Args:
        engine: of the prior.
        partial: the batch; its first `known` rows of the order are whole codes.
        known: m.
        plan: for the n - m other codes.
        options: how codes are drawn; of plan `certain` each call draws those that the prior is most certain of, rather
            than the next ones of the order.
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
    """Codes of tokens that say all of them, 0 for those that say nothing."""
    return (tokens - prior.digits.first_tokens[-1]).clamp(min=0)
