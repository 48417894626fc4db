"""Networks over values of the image modality for tests, and small pictures that they can learn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from anytime_core.priors.grid.orders import raster_order
from anytime_core.priors.raster.config import RasterConfig
from anytime_core.priors.raster.model import RasterPrior
from anytime_core.quantizers.base import CodeSpec
from anytime_core.testing.modality.value_networks import seen_values
from anytime_core.value_networks import NETWORKS, ValueGrid
from anytime_image.modality import ImageModality

NETWORKS.offer(ImageModality)


def network_of(kind: str, section: dict[str, Any], grid: ValueGrid) -> Any:
    """A network over values in evaluation mode, all of whose weights matter."""
    torch.manual_seed(0)
    offered = NETWORKS[kind]
    network = offered.build(offered.Config.model_validate(section), grid)
    with torch.no_grad():
        for weights in network.parameters():
            weights.add_(0.3 * torch.randn_like(weights))
    return network.eval()


def seen_on(kind: str, section: dict[str, Any], channels: int, shape: tuple[int, int]) -> Tensor:
    """Which values the features of each value depend on, bool [values, values]."""
    grid = ValueGrid(channels, shape, inputs=1)
    x = torch.randn(1, channels, *shape, dtype=torch.float64)
    return seen_values(network_of(kind, section, grid).double(), grid, x, None)


def stripes(channels: int, levels: tuple[float, ...], side: int = 4) -> tuple[Tensor, CodeSpec]:
    """Pictures whose columns have one value each, all colours of a pixel the same, as codes, and what these are.

    Returns:
        [16, N], and their description.
    """
    generator = torch.Generator().manual_seed(0)
    columns = torch.randint(len(levels), (16, 1, side, 1), generator=generator)
    pictures = columns.expand(-1, side, -1, channels).flatten(1)
    order = raster_order(channels, (side, side))
    size = len(levels)
    spec = CodeSpec(
        length=side * side * channels, size=size, dim=1, grid=(channels, side, side), levels=levels, order=order
    )
    return pictures, spec


def trained_nats(section: dict[str, Any], spec: CodeSpec, codes: Tensor, steps: int) -> float:
    """Nats per code of a prior of kind raster after some steps on all of `codes`."""
    torch.manual_seed(0)
    config = RasterConfig.model_validate(section)
    config.check(spec)
    prior = RasterPrior(config, spec)
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.01)
    for _ in range(steps):
        loss = prior(codes, None).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return prior.eval()(codes, None).mean().item()
