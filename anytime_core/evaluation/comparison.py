"""Sets of samples against each other: Fréchet distance, precision and recall of their features.

Letters: S samples, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_NEIGHBOURS = 3
"""Radius of the manifold around each sample, as Kynkäänniemi et al. 2019 have it."""
_ROWS = 1000
"""Samples whose distances are in memory at a time."""
_FEW = 100
"""Samples by which no set is known, however few dimensions its features have."""


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
        """Of no samples yet."""
        return cls(0, torch.zeros(features, dtype=torch.float64), torch.zeros(features, features, dtype=torch.float64))

    def add(self, features: Tensor) -> None:
        """Count a batch [S, F]."""
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
        """[F, F], of one sample zero."""
        centred = self.products - self.samples * torch.outer(self.mean, self.mean)
        return centred / max(self.samples - 1, 1)


def frechet_distance(first: Moments, second: Moments) -> float:
    """Squared Fréchet distance of the Gaussians with these moments (Heusel et al. 2017), at least 0.

    It grows as samples get fewer, so compare distances of equally many samples only.
    """
    covariances = first.covariance, second.covariance
    # The trace of the root of a product is the sum of the roots of its eigenvalues, real and not negative but for
    # rounding, also where covariances are singular.
    roots = torch.linalg.eigvals(covariances[0] @ covariances[1]).real.clamp(min=0).sqrt().sum()
    spread = sum(covariance.trace() for covariance in covariances) - 2 * roots
    return max(0.0, float((first.mean - second.mean).square().sum() + spread))


def precision_and_recall(samples: Tensor, reference: Tensor) -> tuple[float, float]:
    """How many samples lie in the reference's manifold, and how much of the reference in theirs, each in [0, 1].

    Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models", NeurIPS 2019: a set's
    manifold is the union of balls around its members that reach to their third nearest neighbour in it. Balls are the
    smaller the more there are, so that only the first S of both sets count, S being the size of the smaller one.

    Args:
        samples: features [S or more, F].
        reference: features [S or more, F].
    """
    size = min(len(samples), len(reference))
    samples, reference = samples[:size], reference[:size]
    return _share_within(samples, reference), _share_within(reference, samples)


def _share_within(points: Tensor, manifold: Tensor) -> float:
    neighbours = min(_NEIGHBOURS, len(manifold) - 1) + 1  # the nearest one is the point itself
    radii = torch.cat(
        [torch.cdist(part, manifold).kthvalue(neighbours, dim=1).values for part in manifold.split(_ROWS)]
    )
    within = [(torch.cdist(part, manifold) <= radii).any(1) for part in points.split(_ROWS)]
    return torch.cat(within).double().mean().item()


def caution(samples: int, noun: str, dimensions: Mapping[str, int]) -> str | None:
    """What must be said of numbers that come from few samples; None where there are enough.

    A covariance of F features is of full rank from more than F samples only, and manifolds of few samples are coarse.

    Args:
        samples: S.
        noun: what they are, in the plural.
        dimensions: extractor -> F.
    """
    outnumbered = [f"the {size:,} dimensions of {name}" for name, size in dimensions.items() if samples < size]
    if not dimensions or (samples >= _FEW and not outnumbered):
        return None
    few = f"fewer than {' and '.join(outnumbered)}" if outnumbered else "few"
    return f"{samples:,} {noun} are {few}: Fréchet distance, precision and recall from them say little"
