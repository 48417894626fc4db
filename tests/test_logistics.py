"""Mixtures of logistic distributions, cut into values."""

from __future__ import annotations

import itertools
from typing import ClassVar

import pytest
import torch
from small_priors import small
from torch import Tensor

from anytime_core.priors.grid.logistics import LogisticsHead
from anytime_core.priors.grid.orders import raster_order
from anytime_core.priors.raster.model import RasterPrior
from anytime_core.quantizers.base import CodeSpec
from anytime_core.testing import PriorContract

FEATURES, MIXTURES = 6, 4
UNEVEN = (-1.0, -0.7, 0.1, 0.2, 2.0)
EVEN = tuple(torch.linspace(-1, 1, 256).tolist())
SIZES = pytest.mark.parametrize("channels", [1, 3])
LINES = pytest.mark.parametrize("levels", [UNEVEN, EVEN, (-1.0, 1.0)], ids=["uneven", "even", "binary"])


class TestColours(PriorContract):
    prior = RasterPrior
    config: ClassVar = {**small("raster"), "head": "logistics", "mixtures": 2, "label_dropout": 0.2}
    spec = CodeSpec(length=12, size=5, dim=1, grid=(3, 2, 2), levels=UNEVEN, order=raster_order(3, (2, 2)))


def head_of(levels: tuple[float, ...], channels: int, spread: float = 0.5) -> LogisticsHead:
    torch.manual_seed(0)
    head = LogisticsHead(FEATURES, levels, MIXTURES, channels)
    torch.nn.init.normal_(head.linear.weight, std=spread)
    return head


def inputs(channels: int, count: int = 7) -> tuple[Tensor, Tensor]:
    return torch.randn(2, count, FEATURES), torch.randn(2, count, channels)


def probabilities_by_definition(head: LogisticsHead, levels: tuple[float, ...], numbers: Tensor, earlier: Tensor):
    """The sum of the module's docstring, in float64, one logistic and one value at a time."""
    numbers = numbers.double().view(MIXTURES, -1)
    weights = numbers[:, 0].softmax(0)
    found = torch.zeros(len(levels), dtype=torch.float64)
    for weight, (_, mean, log_scale, *coefficients) in zip(weights, numbers, strict=True):
        mean = mean + sum(c.tanh() * e for c, e in zip(coefficients, earlier.double(), strict=False))
        scale = log_scale.clamp(min=head.least_log_scale).exp()
        cumulative = [torch.tensor(0.0)]
        cumulative += [torch.sigmoid(((a + b) / 2 - mean) / scale) for a, b in itertools.pairwise(levels)]
        cumulative.append(torch.tensor(1.0))
        found += weight * torch.stack([b - a for a, b in itertools.pairwise(cumulative)])
    return found


@LINES
@SIZES
def test_probabilities_are_what_the_paper_says(levels, channels):
    head = head_of(levels, channels)
    features, earlier = inputs(channels, 2)
    found = head.logits(features, earlier).exp()
    assert head.linear.out_features == MIXTURES * (3 + channels - 1)
    for place in [(0, 0), (1, 1)]:
        wanted = probabilities_by_definition(head, levels, head.linear(features[place]), earlier[place])
        torch.testing.assert_close(found[place].double(), wanted, rtol=1e-4, atol=1e-6)


@LINES
@SIZES
def test_probabilities_add_up_to_one_and_those_of_codes_are_among_them(levels, channels):
    head = head_of(levels, channels, spread=3)
    features, earlier = inputs(channels, len(levels))
    logits = head.logits(features, earlier)
    torch.testing.assert_close(logits.logsumexp(-1), torch.zeros(2, len(levels)), atol=1e-5, rtol=0)
    codes = torch.stack([torch.arange(len(levels)), torch.randperm(len(levels))])
    torch.testing.assert_close(
        head.log_prob(features, earlier, codes), logits.gather(-1, codes.unsqueeze(-1)).squeeze(-1)
    )


def test_the_least_scale_of_bytes_is_that_of_the_paper():
    assert head_of(EVEN, 1).least_log_scale == pytest.approx(-7, abs=1e-4)


def test_means_follow_earlier_numbers_of_the_cell_and_no_others():
    head = head_of(EVEN, 3)
    features, earlier = inputs(3, 1)
    earlier.requires_grad_()
    logits = head.logits(features, earlier)
    (gradient,) = torch.autograd.grad((logits * torch.randn_like(logits)).sum(), earlier)
    assert gradient[..., :2].all()
    assert not gradient[..., 2].any()  # nothing comes after the last value of a cell


@pytest.mark.parametrize("mean", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("log_scale", [-1e3, -7.0, 0.0, 1e3])
def test_values_far_from_all_means_have_finite_logits_and_gradients(mean, log_scale):
    head = head_of(EVEN, 1)
    with torch.no_grad():
        head.linear.weight.zero_()
        head.linear.bias.view(MIXTURES, 3)[:, 1:] = torch.tensor([mean, log_scale])
    features, earlier = inputs(1, 256)
    codes = torch.arange(256).expand(2, 256)
    for found in (head.logits(features, earlier), head.log_prob(features, earlier, codes)):
        assert found.isfinite().all()
        head.zero_grad()
        found.sum().backward()
        assert head.linear.bias.grad is not None
        assert head.linear.bias.grad.isfinite().all()


def test_a_mixture_learns_a_distribution_of_two_peaks():
    head = head_of(EVEN, 1, spread=0.02)
    values = torch.cat([torch.zeros(60), torch.full((40,), 200) + torch.arange(40) % 5]).long()
    features, earlier = torch.ones(100, FEATURES), torch.zeros(100, 1)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    for _ in range(150):
        loss = -head.log_prob(features, earlier, values).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = head.logits(features[0], earlier[0]).exp()
    assert found[0].item() == pytest.approx(0.6, abs=0.02)
    assert 0.3 < found[200:205].sum().item() <= 0.4  # a logistic has tails, which a box has not
