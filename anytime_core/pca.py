"""Principal component analysis as encoder and decoder: the linear model that is ordered by itself.

For every n, the first n principal components have the smallest squared error of all n linear codes (Eckart and Young
1936). An ordered autoencoder of linear networks learns the same (Xu et al. 2021, theorem 1).

X is the number of values of a sample, R the number of samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LLOYD_ITERATIONS = 100


def linear_networks(components: Tensor, mean: Tensor) -> tuple[nn.Sequential, nn.Sequential]:
    """An encoder x [B, *sample_shape] -> coefficients [B, N, 1] and the decoder back.

    Args:
        components: [N, *sample_shape], orthonormal.
        mean: [*sample_shape], which the decoder returns for zeros.
    """
    rows = components.flatten(1)  # [N, X]
    encode, decode = nn.Linear(rows.shape[1], len(rows)), nn.Linear(len(rows), rows.shape[1])
    with torch.no_grad():
        encode.weight.copy_(rows)
        encode.bias.copy_(-rows @ mean.flatten())
        decode.weight.copy_(rows.T)
        decode.bias.copy_(mean.flatten())
    return (
        nn.Sequential(nn.Flatten(), encode, nn.Unflatten(1, (len(rows), 1))),
        nn.Sequential(nn.Flatten(), decode, nn.Unflatten(1, tuple(mean.shape))),
    )


def principal_components(batches: Iterable[Mapping[str, Tensor]], number: int) -> tuple[Tensor, Tensor]:
    """The principal components of samples, the largest variance first, and the mean.

    It takes the memory of one batch (incremental PCA, Ross et al., "Incremental Learning for Robust Visual Tracking",
    2008). It is exact for a single batch; otherwise each batch leaves only the part within `number` components.

    Args:
        batches: samples `x` [B, *sample_shape], every B at least N.
        number: N, at most X.

    Returns:
        Components [N, *sample_shape], orthonormal, and mean [*sample_shape].
    """
    from sklearn.decomposition import IncrementalPCA

    pca = IncrementalPCA(number)
    sample_shape: tuple[int, ...] = ()
    for batch in batches:
        sample_shape = tuple(batch["x"].shape[1:])
        pca.partial_fit(batch["x"].flatten(1).numpy())
    components, mean = torch.from_numpy(pca.components_), torch.from_numpy(pca.mean_)
    return components.float().unflatten(1, sample_shape), mean.float().unflatten(0, sample_shape)


def scalar_codebooks(coefficients: Tensor, size: int) -> Tensor:
    """Codebooks of least squared error for numbers, one per position, by Lloyd's algorithm (Lloyd 1982, Max 1960).

    Each codebook starts halfway between an even grid and the quantiles. In one dimension the numbers of a code are
    neighbours, so they are sorted once and no distances are needed.

    Args:
        coefficients: [R, N].
        size: K.

    Returns:
        [N, K], ascending.
    """
    numbers = coefficients.double().T.contiguous().sort().values  # [N, R]
    sums = F.pad(numbers.cumsum(1), (1, 0))  # [N, R + 1], of the numbers before each
    shares = (torch.arange(size) + 0.5) / size
    grid = numbers[:, :1] + (numbers[:, -1:] - numbers[:, :1]) * shares
    codes = (grid + numbers[:, (shares * numbers.shape[1]).long()]) / 2
    for _ in range(_LLOYD_ITERATIONS):
        limits = torch.searchsorted(numbers, (codes[:, 1:] + codes[:, :-1]) / 2)
        limits = F.pad(F.pad(limits, (1, 0)), (0, 1), value=numbers.shape[1])  # [N, K + 1]
        counts = limits.diff()
        codes = torch.where(counts > 0, sums.gather(1, limits).diff() / counts.clamp(min=1), codes)
    return codes.to(coefficients.dtype)
