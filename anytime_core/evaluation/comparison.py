"""Sets of samples against each other: Fréchet distance of their features, and how their manifolds overlap.

S is the number of samples, F that of features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_NEIGHBOURS, _DENSITY_NEIGHBOURS = 3, 5
"""The neighbour that the ball around a sample reaches to: for precision and recall, for density and coverage."""
_ROWS = 1000
"""Samples whose distances are in memory at a time."""
_FEW = 100
"""Fewer samples than this say little of a set, however few dimensions its features have."""


@dataclass
class Moments:
    """Mean and covariance of features, over samples that come in batches and are not kept.

    Attributes:
        samples: how many there were.
        total: [F] float64, their sum.
        products: [F, F] float64, the sum of their outer products.
    """

    samples: int
    total: Tensor
    products: Tensor

    @classmethod
    def none(cls, features: int) -> Moments:
        """Moments of no samples yet."""
        return cls(0, torch.zeros(features, dtype=torch.float64), torch.zeros(features, features, dtype=torch.float64))

    def add(self, features: Tensor) -> None:
        """Add a batch [S, F]."""
        features = features.double().cpu()
        self.samples += len(features)
        self.total += features.sum(0)
        self.products += features.T @ features

    @property
    def mean(self) -> Tensor:
        """[F]."""
        return self.total / self.samples

    @property
    def covariance(self) -> Tensor:
        """[F, F]; zero for a single sample."""
        centred = self.products - self.samples * torch.outer(self.mean, self.mean)
        return centred / max(self.samples - 1, 1)


def frechet_distance(first: Moments, second: Moments) -> float:
    """Squared Fréchet distance of the Gaussians with these moments (Heusel et al. 2017), at least 0.

    It grows as samples get fewer, so compare only distances of equally many samples.
    """
    covariances = first.covariance, second.covariance
    # The trace of the root of a product is the sum of the roots of its eigenvalues, real and not negative but for
    # rounding, also if covariances are singular.
    roots = torch.linalg.eigvals(covariances[0] @ covariances[1]).real.clamp(min=0).sqrt().sum()
    spread = sum(covariance.trace() for covariance in covariances) - 2 * roots
    return max(0.0, float((first.mean - second.mean).square().sum() + spread))


@dataclass(frozen=True)
class Manifolds:
    """How the manifolds of samples and of reference data overlap.

    Attributes:
        precision: share of the samples within the manifold of the reference, in [0, 1].
        recall: share of the reference within the manifold of the samples, in [0, 1].
        density: how many of the reference's balls hold a sample, as a share of what is expected if the two sets are
            alike: about 1 then, 0 for none, and no upper limit.
        coverage: share of the reference whose balls hold at least one sample, in [0, 1].
    """

    precision: float
    recall: float
    density: float
    coverage: float


def compare_manifolds(samples: Tensor, reference: Tensor) -> Manifolds:
    """Whether samples look like the reference, and whether they are as varied.

    A set's manifold is the union of balls around its members that reach to their k-th nearest neighbour in it.
    Precision and recall (Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models",
    NeurIPS 2019) take k = 3 and ask whether any ball holds a point, so that one outlier with a wide ball makes all that
    lies near it precise. Density and coverage (Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative
    Models", ICML 2020) take k = 5 and count the balls of the reference alone: samples that are all alike lie in few.

    The more balls there are, the smaller they are. So only the first S of both sets count, S being the size of the
    smaller one.

    Args:
        samples: features [S or more, F].
        reference: features [S or more, F].
    """
    size = min(len(samples), len(reference))
    samples, reference = samples[:size], reference[:size]
    sample_radii = _radii(samples, _NEIGHBOURS)
    radii, wider_radii = _radii(reference, _NEIGHBOURS), _radii(reference, _DENSITY_NEIGHBOURS)
    precise, held = torch.zeros(size, dtype=torch.bool), torch.zeros(size)
    recalled, covered = torch.zeros(size, dtype=torch.bool), torch.zeros(size, dtype=torch.bool)
    for first in range(0, size, _ROWS):
        part = slice(first, first + _ROWS)
        distances = torch.cdist(samples[part], reference)
        precise[part] = (distances <= radii).any(1)
        recalled |= (distances <= sample_radii[part, None]).any(0)
        holding = distances <= wider_radii
        held[part] = holding.sum(1).float()
        covered |= holding.any(0)
    return Manifolds(
        precision=_share(precise),
        recall=_share(recalled),
        density=held.double().mean().item() / min(_DENSITY_NEIGHBOURS, max(size - 1, 1)),
        coverage=_share(covered),
    )


def _radii(points: Tensor, neighbours: int) -> Tensor:
    """Distance of each point to its k-th nearest neighbour, or the farthest if there are fewer: [S]."""
    rank = min(neighbours, len(points) - 1) + 1  # the nearest one is the point itself
    return torch.cat([torch.cdist(part, points).kthvalue(rank, dim=1).values for part in points.split(_ROWS)])


def _share(chosen: Tensor) -> float:
    return chosen.double().mean().item()


def caution(samples: int, noun: str, dimensions: Mapping[str, int]) -> str | None:
    """A caution about numbers that come from few samples; None if there are enough.

    A covariance of F features has full rank only with more than F samples, and manifolds of few samples are coarse.

    Args:
        samples: S.
        noun: the word for them, in the plural.
        dimensions: extractor -> F.
    """
    outnumbered = [f"the {size:,} dimensions of {name}" for name, size in dimensions.items() if samples < size]
    if not dimensions or (samples >= _FEW and not outnumbered):
        return None
    few = f"fewer than {' and '.join(outnumbered)}" if outnumbered else "few"
    return f"{samples:,} {noun} are {few}: Fréchet distance, density and coverage from them say little"
