"""Checks of causal priors: what each code depends on, and how codes are drawn.

n is a prefix length, P the number of parameters of one code.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import torch
from scipy.stats import chisquare
from torch import Tensor

from anytime_core.priors.base import CausalPrior, PlainEngine
from anytime_core.priors.shaping import Shaping
from anytime_core.sampling.choices import Drawing
from anytime_core.sampling.noise import noise_of
from anytime_core.sampling.steps import open_stepper, steps
from anytime_core.testing.priors.subject import (
    BATCH,
    CLASSES,
    CLOSE,
    Subject,
    check,
    resized,
    some_codes,
    some_labels,
)

_SAMPLES = 600
_UNLIKELY = 1e-4


@check("causal", "discrete")
@torch.no_grad()
def conditionals_are_of_every_position(subject: Subject, folder: Path) -> None:
    """Given n codes there are [B, n + 1, P] parameters, none of them NaN, for every n < N."""
    prior: Any = subject.make()
    codes = some_codes(prior.spec)
    for length in range(prior.code_length):
        found = prior.conditionals(codes[:, :length], None)
        wanted = (BATCH, length + 1, prior.distribution.size)
        assert found.shape == wanted, f"conditionals of {length} codes have shape {tuple(found.shape)}, not {wanted}"
        assert not found.isnan().any(), f"conditionals of {length} codes are not numbers"


@check("causal", "discrete")
@torch.no_grad()
def later_codes_do_not_matter(subject: Subject, folder: Path) -> None:
    """The distribution of a code depends only on the codes before it: changing any later code changes nothing."""
    prior: Any = subject.trained()
    codes = some_codes(prior.spec)[:, :-1]
    before = prior.conditionals(codes, None)
    for position in range(prior.code_length - 1):
        others = codes.clone()
        others[:, position] = (others[:, position] + 1) % prior.codebook_size
        change = _difference(prior.conditionals(others, None), before, slice(None, position + 1))
        assert change < CLOSE, (
            f"the code at position {position} changes the distribution of codes up to it by {change:.3g}"
        )


@check("causal", "discrete")
@torch.no_grad()
def a_prefix_is_enough(subject: Subject, folder: Path) -> None:
    """The parameters of the first codes are the same with and without later codes."""
    prior: Any = subject.trained()
    codes = some_codes(prior.spec)[:, :-1]
    whole = prior.conditionals(codes, None)
    for length in range(prior.code_length - 1):
        found = prior.conditionals(codes[:, :length], None)
        change = _difference(found, whole, slice(None, length + 1))
        assert change < CLOSE, f"parameters given {length} codes differ by {change:.3g} from those given all codes"


@check("causal", "discrete")
@torch.no_grad()
def rows_do_not_mix(subject: Subject, folder: Path) -> None:
    """Each row of a batch has the parameters that it has alone."""
    prior: Any = subject.trained()
    codes = some_codes(prior.spec)[:, :-1]
    together = prior.conditionals(codes, None)
    alone = torch.cat([prior.conditionals(row.unsqueeze(0), None) for row in codes])
    change = _difference(alone, together)
    assert change < CLOSE, f"the parameters of rows differ by {change:.3g} alone"


@check("causal", "discrete")
@torch.no_grad()
def probabilities_sum_to_one(subject: Subject, folder: Path) -> None:
    """The probabilities of all values of a code sum to 1, and so do those of all sequences of a small space."""
    prior: Any = subject.trained(_tiny(subject))
    head, codes = prior.distribution, _all_codes(prior)
    parameters = prior.conditionals(codes[:, :-1], None)
    values = torch.arange(prior.codebook_size).expand(*codes.shape, -1)
    each = head.log_prob(parameters.unsqueeze(2).expand(-1, -1, prior.codebook_size, -1), values)
    total = prior.log_prob(codes, None).double().sum(1).exp().sum().item()
    worst = (each.exp().sum(-1) - 1).abs().max().item()
    assert worst < CLOSE, f"the probabilities of the values of a code sum to 1 but for {worst:.3g}"
    assert abs(total - 1) < CLOSE, f"the probabilities of all {len(codes)} sequences sum to {total:.4g}"
    logits = head.logits(parameters).log_softmax(-1)
    assert _difference(logits, each) < CLOSE, "logits() and log_prob() of its distribution do not say the same"
    entropy = -(each.exp() * each).sum(-1)
    assert _difference(head.entropy(parameters), entropy) < CLOSE, (
        "entropy() of its distribution does not follow from log_prob"
    )


@check("causal", "discrete")
@torch.no_grad()
def log_prob_is_the_sum_of_the_steps(subject: Subject, folder: Path) -> None:
    """`log_prob` of drawn codes is the log probability that each step gave to its code."""
    prior: Any = subject.trained()
    said: list[Tensor] = []
    choose = Drawing(prior.distribution, _noise(prior, BATCH, prior.code_length), Shaping())

    def choose_and_note(position: int, parameters: Tensor) -> Tensor:
        drawn = choose(position, parameters)
        said.append(prior.distribution.log_prob(parameters, drawn))
        return drawn

    stepper = PlainEngine(prior).open(None, BATCH, prior.code_length)
    codes = torch.stack(list(steps(stepper, range(prior.code_length), choose_and_note)), 1)
    change = _difference(prior.log_prob(codes, None), torch.stack(said, 1))
    assert change < CLOSE, f"log_prob of drawn codes differs by {change:.3g} from that of the steps"


@check("causal", "discrete")
@torch.no_grad()
def draws_follow_the_probabilities(subject: Subject, folder: Path) -> None:
    """Sequences of a small space are drawn as often as their probabilities say (chi-square test)."""
    prior: Any = subject.trained(_tiny(subject))
    every = _all_codes(prior)
    expected = prior.log_prob(every, None).double().sum(1).exp() * _SAMPLES
    codes = _drawn(prior, _SAMPLES)
    powers = prior.codebook_size ** torch.arange(prior.code_length - 1, -1, -1)
    seen = (codes * powers).sum(1).bincount(minlength=len(every)).double()
    found = chisquare(seen, expected / expected.sum() * _SAMPLES).pvalue
    assert found > _UNLIKELY, f"{_SAMPLES} drawn sequences follow the probabilities of log_prob with p = {found:.2g}"


@check("causal", "discrete")
@torch.no_grad()
def coldest_draws_are_the_likeliest(subject: Subject, folder: Path) -> None:
    """The most likely code is drawn at temperature 0, with a top-k of 1, and with a tiny top-p."""
    prior: Any = subject.trained()
    head = prior.distribution
    parameters = prior.conditionals(some_codes(prior.spec)[:, :-1], None)[:, -1]
    noise = _noise(prior, BATCH, 1).at(0)
    likeliest = head.logits(parameters).argmax(-1)
    for shaping in (Shaping(temperature=0), Shaping(top_k=1), Shaping(top_p=1e-6)):
        drawn = head.draw(parameters, noise, shaping)
        assert drawn.dtype == torch.int64, f"draw() gives {drawn.dtype}, not int64"
        assert torch.equal(drawn, likeliest), f"draw() with {shaping} does not take the likeliest code"


@check("causal", "discrete", "guided")
@torch.no_grad()
def guidance_lies_between_its_ends(subject: Subject, folder: Path) -> None:
    """Guidance 1 gives the distribution with the label, 0 with the null label, and others give distributions too."""
    prior: Any = subject.trained(subject.spec.narrowed(classes=CLASSES))
    labels, engine, found = some_labels(prior.spec), PlainEngine(prior), {}
    for guidance in (0.0, 1.0, 1.5):
        both = engine.open(prior.with_null_labels(labels), 2 * BATCH, prior.code_length)
        found[guidance] = prior.distribution.guided(both.step(0, None), guidance)
    null = torch.full((BATCH,), prior.null_label)
    for guidance, told in ((0.0, null), (1.0, labels)):
        alone = open_stepper(engine, prior, told, BATCH, prior.code_length, 1.0).step(0, None)
        change = _difference(found[guidance], alone)
        assert change < CLOSE, f"at guidance {guidance:g} parameters differ by {change:.3g} from those without guidance"
    shape = tuple(found[1.5].shape)
    assert shape == (BATCH, prior.distribution.size), f"guided parameters have shape {shape}"
    assert not found[1.5].isnan().any(), "guided parameters are not numbers"


def _tiny(subject: Subject) -> Any:
    """The description of two codes of three values."""
    return resized(subject.spec, 2, 3)


def _all_codes(prior: CausalPrior) -> Tensor:
    """All sequences, [K ** N, N]."""
    return torch.tensor(list(itertools.product(range(prior.codebook_size), repeat=prior.code_length)))


def _noise(prior: CausalPrior, batch: int, length: int) -> Any:
    return noise_of(0, range(batch), length, prior.distribution.noise)


def _drawn(prior: CausalPrior, batch: int) -> Tensor:
    """Codes [B, N] of the plain engine."""
    stepper = PlainEngine(prior).open(None, batch, prior.code_length)
    choose = Drawing(prior.distribution, _noise(prior, batch, prior.code_length), Shaping())
    return torch.stack(list(steps(stepper, range(prior.code_length), choose)), 1)


def _difference(found: Tensor, wanted: Tensor, positions: slice = slice(None)) -> float:
    """The largest difference of parameters at some positions; equal infinities do not differ."""
    found, wanted = found[:, positions], wanted[:, positions]
    return torch.where(found == wanted, 0, found - wanted).abs().max().item()
