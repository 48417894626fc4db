"""Prefix-length distributions, drawing from them, and the prefix mask."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anytime_core.truncation import Distribution, draw_lengths, length_probabilities, prefix_mask

DISTRIBUTIONS = get_args(Distribution)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, max_examples=60)
@given(distribution=st.sampled_from(DISTRIBUTIONS), code_length=st.integers(1, 2000), ratio=st.floats(0.01, 0.999))
def test_probabilities_are_one_per_length_and_sum_to_one(distribution, code_length, ratio):
    probabilities = length_probabilities(distribution, code_length, ratio=ratio)
    assert probabilities.shape == (code_length,)
    assert (probabilities >= 0).all()
    assert probabilities.double().sum().item() == pytest.approx(1, abs=1e-5)


def test_a_tiny_geometric_ratio_keeps_one_code():
    assert length_probabilities("geometric", 4, ratio=1e-50).tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("distribution", "code_length", "support"),
    [
        ("uniform", 5, {1, 2, 3, 4, 5}),
        ("powers_of_two", 1, {1}),
        ("powers_of_two", 12, {1, 2, 4, 8, 12}),
        ("powers_of_two", 16, {1, 2, 4, 8, 16}),
        ("none", 7, {7}),
        ("none", 1, {1}),
    ],
)
def test_all_lengths_of_the_support_are_equally_likely_and_no_others_occur(distribution, code_length, support):
    probabilities = length_probabilities(distribution, code_length)
    expected = [1 / len(support) if length in support else 0 for length in range(1, code_length + 1)]
    assert probabilities.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("ratio", [0.3, 0.9, 0.99])
def test_geometric_probabilities_fall_by_the_ratio(ratio):
    probabilities = length_probabilities("geometric", 20, ratio=ratio)
    assert (probabilities[1:] / probabilities[:-1]).tolist() == pytest.approx([ratio] * 19, rel=1e-4)


def test_an_unknown_distribution_is_an_error_that_names_it():
    with pytest.raises(ValueError, match="zipf"):
        length_probabilities("zipf", 4)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_lengths_are_drawn_as_often_as_their_probability_says(distribution):
    draws = 20_000
    probabilities = length_probabilities(distribution, 12, ratio=0.7)
    lengths = draw_lengths(probabilities, draws, generator=seeded(0))
    assert lengths.dtype == torch.int64
    assert lengths.shape == (draws,)
    counts = torch.bincount(lengths, minlength=13)
    assert len(counts) == 13, "a length beyond N was drawn"
    assert counts[0] == 0
    tolerance = 5 * (probabilities * (1 - probabilities) / draws).sqrt()
    assert ((counts[1:] / draws - probabilities).abs() <= tolerance).all()


@pytest.mark.parametrize(("full_share", "expected"), [(0.0, 0.1), (0.3, 0.3 + 0.7 * 0.1), (1.0, 1.0)])
def test_full_share_of_the_samples_keep_every_code(full_share, expected):
    lengths = draw_lengths(length_probabilities("uniform", 10), 20_000, full_share=full_share, generator=seeded(1))
    assert (lengths == 10).double().mean().item() == pytest.approx(expected, abs=0.015)
    # The others still follow the distribution.
    assert full_share == 1 or set(lengths.tolist()) == set(range(1, 11))


@pytest.mark.parametrize("full_share", [0.0, 0.5])
def test_one_batch_holds_different_lengths(full_share):
    lengths = draw_lengths(length_probabilities("uniform", 16), 64, full_share=full_share, generator=seeded(2))
    assert lengths.unique().numel() >= 8


@pytest.mark.parametrize("full_share", [0.0, 0.5])
def test_lengths_follow_from_the_generator_alone(full_share):
    probabilities = length_probabilities("uniform", 64)

    def draw(seed: int, global_seed: int) -> list[int]:
        torch.manual_seed(global_seed)
        return draw_lengths(probabilities, 32, full_share=full_share, generator=seeded(seed)).tolist()

    assert draw(3, global_seed=0) == draw(3, global_seed=1)
    assert draw(3, global_seed=0) != draw(4, global_seed=0)


@settings(deadline=None, max_examples=50)
@given(code_length=st.integers(1, 12), lengths=st.lists(st.integers(0, 14), min_size=1, max_size=6))
def test_prefix_mask_keeps_the_first_codes_of_each_sample(code_length, lengths):
    mask = prefix_mask(torch.tensor(lengths), code_length)
    assert mask.dtype == torch.bool
    assert mask.tolist() == [[position < length for position in range(code_length)] for length in lengths]
