"""Reconstruction losses of images, each (x_hat, x) [B, channels, H, W] -> [B]."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def mean_squared_error(x_hat: Tensor, x: Tensor) -> Tensor:
    """Mean over channels and pixels of the squared difference."""
    return (x_hat - x).square().flatten(1).mean(1)


def mean_absolute_error(x_hat: Tensor, x: Tensor) -> Tensor:
    """Mean over channels and pixels of the absolute difference (L1)."""
    return (x_hat - x).abs().flatten(1).mean(1)


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": mean_squared_error, "l1": mean_absolute_error}
"""Losses by their names in the config."""
