"""Checks of order-agnostic priors: what their network says about any codes given any others.

n is a prefix length, S the number of stages, R the number of values of a digit, r the number of rows: positions that go
through the network.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import torch
from scipy.stats import chisquare
from torch import Tensor

from anytime_core.errors import UsageError
from anytime_core.priors.any_order.base import AnyOrderPrior
from anytime_core.priors.any_order.calls import PartialCodes
from anytime_core.priors.any_order.plan import make_plan
from anytime_core.priors.heads import NoiseNeed
from anytime_core.sampling.in_calls import draw_in_calls, sample_orders
from anytime_core.sampling.noise import noise_of
from anytime_core.sampling.options import SamplingOptions
from anytime_core.testing.priors.subject import BATCH, CLASSES, CLOSE, Subject, check, resized, some_codes, some_labels

_ESTIMATES, _SAMPLES = 1000, 600
_STANDARD_ERRORS = 5
_UNLIKELY = 1e-4


@check("any-order", "discrete")
@torch.no_grad()
def digits_number_every_code(subject: Subject, folder: Path) -> None:
    """Tokens say from nothing to all of a code, digit by digit, and the last ones are different for every code."""
    prior: Any = subject.make()
    size, stages = prior.codebook_size, len(prior.digits)
    assert prior.token_of.shape == (stages + 1, size), (
        f"token_of has shape {tuple(prior.token_of.shape)}, not {(stages + 1, size)}"
    )
    assert not prior.token_of[0].any(), "the token that says nothing is not 0"
    assert len(prior.token_of[-1].unique()) == size, "two codes have the same digits"


@check("any-order", "discrete")
@torch.no_grad()
def what_is_not_known_is_not_seen(subject: Subject, folder: Path) -> None:
    """`logits_at` gives the `logits` of the rows that are asked for, with and without the unknown rows."""
    for classes in (0, CLASSES) if subject.conditional else (0,):
        prior: Any = subject.trained(subject.spec.narrowed(classes=classes))
        length, labels = prior.code_length, some_labels(prior.spec)
        codes = some_codes(prior.spec)
        positions = torch.rand(BATCH, length).argsort(1)
        for stage, known in itertools.product(range(len(prior.digits)), range(length)):
            level = torch.full((BATCH, length), stage)
            level.scatter_(1, positions[:, :known], stage + 1)
            tokens = prior.token_of[level, codes]
            seen = length if stage else known
            wanted = _at(prior.logits(tokens, stage, labels), positions)
            for end in {known + 1, length} if not stage else {length}:
                rows, asked = positions[:, :end], slice(known, end)
                found = prior.logits_at(tokens.gather(1, rows), rows, seen, asked, stage, labels)
                worst = _difference(found, wanted[:, asked])
                assert worst < CLOSE, (
                    f"logits_at() of {end} rows, {known} of them known, differs by {worst:.3g} from logits()"
                )


@check("any-order", "discrete")
@torch.no_grad()
def losses_are_of_every_step(subject: Subject, folder: Path) -> None:
    """`losses` are [S, n], finite and at least 0, before and after training, and for a prefix too."""
    for prior in (subject.make(), subject.trained()):
        assert isinstance(prior, AnyOrderPrior)
        for length in {1, prior.code_length - 1, prior.code_length}:
            losses = prior.losses(length)
            wanted = (len(prior.digits), length)
            assert losses.shape == wanted, f"losses({length}) have shape {tuple(losses.shape)}, not {wanted}"
            assert losses.isfinite().all(), f"losses({length}) are not finite"
            assert losses.min() >= 0, f"losses({length}) reach {losses.min().item():.3g}, below 0"


@check("any-order", "discrete")
@torch.no_grad()
def bound_terms_are_of_unknown_codes(subject: Subject, folder: Path) -> None:
    """A step of the bound has nats at the unknown positions of its prefix only, and counts these positions right."""
    prior = subject.trained()
    assert isinstance(prior, AnyOrderPrior)
    lengths = torch.arange(BATCH) % prior.code_length + 1
    terms = prior.bound_terms(some_codes(prior.spec), None, lengths, torch.Generator().manual_seed(3))
    inside = torch.arange(prior.code_length) < lengths.unsqueeze(1)
    assert not (terms.unknown & ~inside).any(), "positions after the prefix count as unknown"
    assert torch.equal(terms.unknown.sum(1) + terms.known, lengths), "known and unknown positions are not the prefix"
    assert not terms.nats[~terms.unknown].any(), "known positions cost nats"
    assert (terms.nats >= -CLOSE).all(), "an unknown position costs less than 0 nats"


@check("any-order", "discrete")
@torch.no_grad()
def log_prob_is_the_bound_over_all_orders(subject: Subject, folder: Path) -> None:
    """The mean of `log_prob` is the log probability of the codes, drawn one by one, in the mean over all orders."""
    prior: Any = subject.trained(resized(subject.spec, 2, 3))
    codes = some_codes(prior.spec, 1)
    exact = sum(_by_order(prior, codes, order).sum() for order in itertools.permutations(range(2))) / 2
    estimates = prior.log_prob(codes.expand(_ESTIMATES, -1), None, torch.Generator().manual_seed(2)).double().sum(1)
    error = estimates.std().item() / math.sqrt(_ESTIMATES) + CLOSE
    assert abs(estimates.mean().item() - float(exact)) < _STANDARD_ERRORS * error, (
        f"log_prob of a sequence is {estimates.mean().item():.4g} in the mean, but {float(exact):.4g} over its orders"
    )


@check("any-order", "discrete")
@torch.no_grad()
def draws_follow_the_mean_over_orders(subject: Subject, folder: Path) -> None:
    """Sequences of a small space, drawn code by code, have the frequencies of all orders together (chi-square test)."""
    prior: Any = subject.trained(resized(subject.spec, 2, 3))
    every = torch.tensor(list(itertools.product(range(3), repeat=2)))
    orders = list(itertools.permutations(range(2)))
    expected = sum(_by_order(prior, every, order).sum(1).exp() for order in orders) / len(orders) * _SAMPLES
    assert isinstance(expected, Tensor)
    codes = _drawn(prior, prior.engines()["plain"], _SAMPLES, calls=None)
    seen = (codes * torch.tensor([3, 1])).sum(1).bincount(minlength=9).double()
    found = chisquare(seen, expected / expected.sum() * _SAMPLES).pvalue
    assert found > _UNLIKELY, f"{_SAMPLES} drawn sequences follow the probabilities of all orders with p = {found:.2g}"


@check("any-order", "discrete")
@torch.no_grad()
def engines_draw_the_codes_of_the_plain_one(subject: Subject, folder: Path) -> None:
    """With the same noise and order, every engine that runs here draws the codes of engine `plain`, by any plan."""
    prior: Any = subject.trained()
    engines = prior.engines()
    for name, calls in itertools.product(engines, (None, len(prior.digits))):
        if "float32" in engines[name].precisions:
            try:
                drawn = _drawn(prior, engines[name], BATCH, calls)
            except UsageError:  # it runs on another device
                continue
            same = torch.equal(drawn, _drawn(prior, engines["plain"], BATCH, calls))
            assert same, f"engine {name} draws other codes than plain in {calls or 'as many as there are'} calls"


def _drawn(prior: Any, maker: Any, batch: int, calls: int | None) -> Tensor:
    """Codes [B, N] from the same noise and orders, drawn in `calls` calls (None: one for each digit of each code)."""
    indices, length = range(batch), prior.code_length
    partial = PartialCodes(
        tokens=torch.zeros(batch, length, dtype=torch.int64),
        order=sample_orders(0, indices, length),
        noise=noise_of(0, indices, length, NoiseNeed("gumbel", sum(prior.digits.radices))).whole(),
        labels=None,
    )
    codes, _ = draw_in_calls(maker(prior, "float32"), partial, 0, make_plan(prior.losses(), calls), SamplingOptions())
    return codes


def _by_order(prior: Any, codes: Tensor, order: tuple[int, ...]) -> Tensor:
    """The log probability of codes that are drawn in an order, one digit after another, [B, N]."""
    nats = torch.zeros(codes.shape, dtype=torch.float64)
    for stage in range(len(prior.digits)):
        level = torch.full(codes.shape, stage)
        for position in order:
            logits = prior.logits(prior.token_of[level, codes], stage, None)[:, position].double()
            digit = prior.digits.digit_table()[stage, codes[:, position]].unsqueeze(1)
            nats[:, position] += logits.log_softmax(-1).gather(1, digit).squeeze(1)
            level[:, position] += 1
    return nats


def _at(values: Tensor, positions: Tensor) -> Tensor:
    """[B, N, R] at [B, r] -> [B, r, R]."""
    return values.gather(1, positions.unsqueeze(-1).expand(-1, -1, values.shape[-1]))


def _difference(found: Tensor, wanted: Tensor) -> float:
    return torch.where(found == wanted, 0, found - wanted).abs().max().item()
