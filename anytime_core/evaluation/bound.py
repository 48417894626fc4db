"""What an order-agnostic prior needs for validation data, by number of network calls.

n is the number of codes that are drawn, S the number of stages: one for each digit of a code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anytime_core.priors.any_order.base import AnyOrderPrior
from anytime_core.priors.any_order.plan import SPACINGS, Plan, make_plan

PASSES = 4
"""Random steps of the bound that each sequence is evaluated at."""

CodeBatches = Iterable[tuple[Tensor, Tensor | None]]
"""Codes [B, N] and labels [B], None if the data has none; iterated more than once."""

OnBatch = Callable[[], None]


@dataclass(frozen=True)
class Bits:
    """An upper bound of the negative log-likelihood, estimated from random orders.

    Attributes:
        per_code: mean bits a code.
        standard_error: of that mean.
    """

    per_code: float
    standard_error: float


@torch.inference_mode()
def bits_of_plan(
    prior: AnyOrderPrior, batches: CodeBatches, length: int, plan: Plan, on_batch: OnBatch = lambda: None
) -> Bits:
    """Bits a code of the first `length` codes when they are drawn by `plan`; `on_batch` is called for each batch."""
    means = []
    starts = _starts(plan)
    for codes, labels, generator in _passes(batches, on_batch):
        lengths = torch.full((len(codes),), length, device=codes.device)
        terms = prior.bound_terms(codes, labels, lengths, generator, starts.to(codes.device))
        means.append(terms.means.double().cpu() * len(prior.digits) / math.log(2))
    bits = torch.cat(means).view(PASSES, -1).mean(0)  # of each sequence: its passes are not independent
    return Bits(bits.mean().item(), bits.std().item() / math.sqrt(len(bits)))


@torch.inference_mode()
def bits_by_calls(
    prior: AnyOrderPrior, batches: CodeBatches, calls: Sequence[int], on_batch: OnBatch = lambda: None
) -> dict[str, dict[int, float]]:
    """Spacing -> number of calls -> bits a code over all codes, by plans made from the losses of training."""
    stages, length = len(prior.digits), prior.code_length
    sums, counts = torch.zeros(stages * length, dtype=torch.float64), torch.zeros(stages * length, dtype=torch.float64)
    for codes, labels, generator in _passes(batches, on_batch):
        terms = prior.bound_terms(codes, labels, None, generator)
        index = (terms.stage * length + terms.known).cpu()
        sums.index_add_(0, index, terms.means.double().cpu())
        counts.index_add_(0, index, torch.ones(len(index), dtype=torch.float64))
    losses = _filled(sums.view(stages, length).numpy(), counts.view(stages, length).numpy())
    planned = prior.losses().double().cpu().numpy()
    possible = [number for number in sorted(set(calls)) if stages <= number <= stages * length]
    return {
        spacing: {
            number: make_plan(planned, number, spacing).cost(losses) / (length * math.log(2)) for number in possible
        }
        for spacing in SPACINGS
    }


def call_numbers(most: int) -> list[int]:
    """Numbers of calls for a curve: powers of two, and all of them."""
    return sorted({2**exponent for exponent in range(most.bit_length())} | {most})


def _passes(batches: CodeBatches, on_batch: OnBatch) -> Iterable[tuple[Tensor, Tensor | None, torch.Generator]]:
    """Every batch several times, with one stream of random orders for all."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(PASSES):
        for codes, labels in batches:
            yield codes, labels, generator
            on_batch()


def _starts(plan: Plan) -> Tensor:
    """[S, n]: for each step, how many codes are known when its group is drawn."""
    rows = []
    for sizes in plan.stages:
        begins = np.cumsum((0, *sizes[:-1]))
        rows.append(torch.from_numpy(np.repeat(begins, sizes)))
    return torch.stack(rows)


def _filled(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means [S, N]; steps without any value get one between their neighbours."""
    steps = np.arange(sums.shape[1])
    rows = []
    for total, count in zip(sums, counts, strict=True):
        seen = count > 0
        rows.append(np.interp(steps, steps[seen], total[seen] / count[seen]))
    return np.stack(rows)
