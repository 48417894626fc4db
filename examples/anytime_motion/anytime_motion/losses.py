"""Reconstruction losses of motion, each (x_hat, x) [B, 12, S] -> [B]."""

from __future__ import annotations

from torch import Tensor


def mean_squared_error(x_hat: Tensor, x: Tensor) -> Tensor:
    """Mean over channels and time steps of the squared difference."""
    return (x_hat - x).square().flatten(1).mean(1)


def motion_loss(x_hat: Tensor, x: Tensor) -> Tensor:
    """Squared errors of the values and, against jitter, of their changes from one time step to the next."""
    return mean_squared_error(x_hat, x) + mean_squared_error(x_hat.diff(dim=-1), x.diff(dim=-1))
