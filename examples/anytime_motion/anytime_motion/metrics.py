"""Measures of the quality of motion, each (x_hat, x) [B, 12, S] with values in [-1, 1] -> [B]."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from anytime_motion.losses import mean_squared_error
from anytime_motion.skeleton import RATE, pose, to_units

_LEAST_VARIANCE = 1e-8


def joint_distance(x_hat: Tensor, x: Tensor) -> Tensor:
    """Mean distance of the joints from where they should be, in centimetres (MPJPE)."""
    estimated, true = (pose(to_units(sample)).joints() for sample in (x_hat, x))  # [B, 19, 2, S]
    return 100 * (estimated - true).norm(dim=-2).flatten(1).mean(1)


def joint_speed_error(x_hat: Tensor, x: Tensor) -> Tensor:
    """Mean difference of the joints' angular speeds in degrees a second."""
    estimated, true = (to_units(sample)[:, :-1].diff(dim=-1) * RATE for sample in (x_hat, x))
    return (estimated - true).abs().flatten(1).mean(1)


def explained_variance(x_hat: Tensor, x: Tensor) -> Tensor:
    """Share of the movement about each channel's mean over time that is explained: 1 if nothing is missing."""
    movement = (x - x.mean(-1, keepdim=True)).square().flatten(1).mean(1)
    return 1 - mean_squared_error(x_hat, x) / movement.clamp(min=_LEAST_VARIANCE)


METRICS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": mean_squared_error,
    "joint_distance": joint_distance,
    "joint_speed": joint_speed_error,
    "explained": explained_variance,
}
"""Metrics by name."""
