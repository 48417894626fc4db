"""Fréchet distance of sets of features, and how their manifolds lie to each other."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance

from anytime_core.evaluation.comparison import Moments, caution, compare_manifolds, frechet_distance

FEATURES = 6


def cloud(samples: int, *, seed: int = 0, spread: float = 1.0, moved: float = 0.0, features: int = FEATURES) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(features, features, generator=torch.Generator().manual_seed(99))
    return (torch.randn(samples, features, generator=generator) * spread) @ mixing + moved


def moments(*parts: Tensor) -> Moments:
    result = Moments.none(parts[0].shape[1])
    for part in parts:
        result.add(part)
    return result


def test_moments_are_mean_and_covariance_whatever_the_batches():
    points = cloud(300)
    whole, parted = moments(points), moments(*points.split(7))
    torch.testing.assert_close(whole.mean, points.double().mean(0))
    torch.testing.assert_close(whole.covariance, points.double().T.cov())
    torch.testing.assert_close(parted.covariance, whole.covariance)


@pytest.mark.parametrize("features", [1, FEATURES, 40])
def test_the_distance_is_that_of_torchmetrics(features):
    real, fake = cloud(200, features=features), cloud(150, seed=1, spread=1.5, moved=0.3, features=features)
    identity = nn.Identity()
    identity.num_features = features
    peer = FrechetInceptionDistance(feature=identity)
    peer.set_dtype(torch.float64)
    peer.update(real, real=True)
    peer.update(fake, real=False)
    assert frechet_distance(moments(fake), moments(real)) == pytest.approx(peer.compute().item(), rel=1e-4)


def test_the_distance_of_gaussians_with_equal_covariance_is_that_of_their_means():
    points = cloud(500)
    assert frechet_distance(moments(points), moments(points + 2.0)) == pytest.approx(4.0 * FEATURES)


def test_the_distance_of_one_dimension_is_that_of_means_and_deviations():
    first, second = torch.tensor([[0.0], [2.0]]), torch.tensor([[5.0], [11.0]])
    deviations = first.std().item(), second.std().item()
    expected = (8.0 - 1.0) ** 2 + (deviations[0] - deviations[1]) ** 2
    assert frechet_distance(moments(first), moments(second)) == pytest.approx(expected)


def test_a_set_has_no_distance_to_itself_even_where_features_never_vary():
    flat = torch.cat([cloud(100), torch.ones(100, 3)], 1)
    assert frechet_distance(moments(flat), moments(flat)) == pytest.approx(0, abs=1e-6)
    single = moments(cloud(1))
    assert frechet_distance(single, single) == 0


def precision_and_recall(samples: Tensor, reference: Tensor) -> tuple[float, float]:
    compared = compare_manifolds(samples, reference)
    return compared.precision, compared.recall


def test_a_set_is_all_precision_and_recall_against_itself():
    assert precision_and_recall(cloud(50), cloud(50)) == (1.0, 1.0)


def test_distant_sets_share_nothing():
    assert precision_and_recall(cloud(50), cloud(50, moved=100.0)) == (0.0, 0.0)


def test_one_mode_of_two_is_precise_and_recalls_half():
    first, second = cloud(100), cloud(100, seed=1, moved=100.0)
    both = torch.stack([first[:50], second[:50]], 1).flatten(0, 1)
    precision, recall = precision_and_recall(first, both)
    assert precision > 0.9
    assert recall == 0.5
    assert precision_and_recall(both, first) == (recall, precision)


def test_the_larger_set_counts_as_far_as_the_smaller_one_goes():
    samples, reference = cloud(60, spread=1.5), cloud(40, seed=1)
    assert precision_and_recall(samples, reference) == precision_and_recall(samples[:40], reference)


def test_a_wider_set_recalls_and_is_not_precise():
    precision, recall = precision_and_recall(cloud(400, spread=4.0), cloud(400, seed=1))
    assert precision < 0.4
    assert recall > 0.9


def test_more_samples_than_are_compared_at_a_time_change_nothing(monkeypatch):
    samples, reference = cloud(60, spread=1.5), cloud(50, seed=1)
    whole = compare_manifolds(samples, reference)
    monkeypatch.setattr("anytime_core.evaluation.comparison._ROWS", 7)
    assert compare_manifolds(samples, reference) == whole


def test_sets_of_a_few_samples_have_what_neighbours_there_are():
    assert precision_and_recall(cloud(2), cloud(2)) == (1.0, 1.0)
    assert precision_and_recall(cloud(1), cloud(1)) == (1.0, 1.0)


@pytest.mark.parametrize("samples", [50, 400])
def test_sets_of_one_distribution_are_dense_and_cover_each_other(samples):
    compared = compare_manifolds(cloud(samples), cloud(samples, seed=1))
    assert compared.density == pytest.approx(1, abs=0.25)
    assert compared.coverage > 0.9
    assert compare_manifolds(cloud(samples), cloud(samples)).coverage == 1


def test_garbage_in_the_wide_ball_of_one_outlier_is_precise_but_neither_dense_nor_covering():
    reference = torch.cat([cloud(400), cloud(1, moved=60.0)])
    garbage = cloud(401, seed=1, spread=0.01, moved=50.0)
    compared = compare_manifolds(garbage, reference)
    assert (compared.precision, compared.recall) == (1.0, 0.0)
    assert compared.density == pytest.approx(1 / 5)
    assert compared.coverage == pytest.approx(1 / 401)


def test_one_mode_of_two_is_dense_and_covers_half():
    first, second = cloud(100), cloud(100, seed=1, moved=100.0)
    compared = compare_manifolds(first, torch.stack([first[:50], second[:50]], 1).flatten(0, 1))
    assert compared.density > 0.9
    assert compared.coverage == 0.5


# Few samples

SAY = "Fréchet distance, density and coverage from them say little"


@pytest.mark.parametrize(
    ("samples", "dimensions", "said"),
    [
        (2, {"classifier": 64}, f"2 samples are fewer than the 64 dimensions of classifier: {SAY}"),
        (127, {"classifier": 128}, f"127 samples are fewer than the 128 dimensions of classifier: {SAY}"),
        (128, {"classifier": 128}, None),
        (
            1000,
            {"classifier": 128, "inception": 2048, "other": 1280},
            f"1,000 samples are fewer than the 2,048 dimensions of inception and the 1,280 dimensions of other: {SAY}",
        ),
        (99, {"mel": 20}, f"99 samples are few: {SAY}"),
        (100, {"mel": 20}, None),
        (2, {}, None),
    ],
)
def test_few_samples_carry_a_caution(samples, dimensions, said):
    assert caution(samples, "samples", dimensions) == said
