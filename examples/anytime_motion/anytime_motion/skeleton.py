"""The planar figure, seen from its right side and facing right: its channels, their ranges, and where its joints are.

S is the number of time steps.

Angles are in degrees. Hip, shoulder and trunk are measured from the vertical, forwards positive. Knee and elbow are 0
when stretched and positive when bent. The ankle is 0 if the foot is at right angles to the shank, and positive with
raised toes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from anytime_core.transfer import to_device

Values = TypeVar("Values", np.ndarray, Tensor)

RATE = 30
"""Time steps a second."""

_LIMB_RANGES = {"hip": (-50, 110), "knee": (-15, 135), "ankle": (-60, 50), "shoulder": (-80, 170), "elbow": (-15, 135)}
_RANGES = {
    **{f"{side}_{joint}": limits for side in ("left", "right") for joint, limits in _LIMB_RANGES.items()},
    "trunk": (-20, 70),
    "height": (0.3, 1.2),
}

CHANNELS = tuple(_RANGES)
"""Names of a sample's channels: five joints of the left side, five of the right, trunk, and the height of the hips."""

LIMB_CHANNELS = len(_LIMB_RANGES)
_MIRRORED = [*range(LIMB_CHANNELS, 2 * LIMB_CHANNELS), *range(LIMB_CHANNELS), 2 * LIMB_CHANNELS, 2 * LIMB_CHANNELS + 1]

_THIGH, _SHANK, _HEEL, _TOES = 0.45, 0.43, 0.06, 0.18  # metres
_TRUNK, _UPPER_ARM, _FOREARM, _HEAD = 0.52, 0.29, 0.26, 0.15

_LOW, _HIGH = (np.array([[limits[end]] for limits in _RANGES.values()], dtype=np.float32) for end in (0, 1))


def to_units(x: Values) -> Values:
    """Samples [..., 12, S] in [-1, 1] -> degrees and metres."""
    low, high = _like(x)
    return (x + 1) / 2 * (high - low) + low


def from_units(values: Values) -> Values:
    """Degrees and metres [..., 12, S] -> samples in [-1, 1]; values out of range are clipped."""
    low, high = _like(values)
    return ((values - low) / (high - low) * 2 - 1).clip(-1, 1)


def mirror_some(x: Tensor, generator: torch.Generator) -> Tensor:
    """Samples [B, 12, S]; in each, left and right change places with probability 1/2."""
    mirrored = to_device(torch.rand(len(x), generator=generator), x.device) < 0.5
    return torch.where(mirrored[:, None, None], x.index_select(1, to_device(torch.tensor(_MIRRORED), x.device)), x)


@dataclass(frozen=True)
class Limbs:
    """Joints in metres, x forwards and y up, each [..., 2, S]; a chain goes from one joint to the next.

    Attributes:
        legs: left and right: hip, knee, ankle, heel, toes.
        arms: left and right: shoulder, elbow, wrist.
        trunk: hip, neck, crown of the head.
    """

    legs: tuple[tuple[Tensor, ...], tuple[Tensor, ...]]
    arms: tuple[tuple[Tensor, ...], tuple[Tensor, ...]]
    trunk: tuple[Tensor, ...]

    def joints(self) -> Tensor:
        """[..., 19, 2, S]."""
        return torch.stack([joint for chain in (*self.legs, *self.arms, self.trunk) for joint in chain], -3)


def pose(values: Tensor) -> Limbs:
    """Where the joints are, from degrees and metres [..., 12, S]."""
    angles = values[..., :-1, :].deg2rad()
    height = values[..., -1, :]
    hips = torch.stack([torch.zeros_like(height), height], -2)
    lean = angles[..., 2 * LIMB_CHANNELS, :]
    neck, crown = (hips + _along(torch.pi - lean, length) for length in (_TRUNK, _TRUNK + _HEAD))
    sides = [angles[..., start : start + LIMB_CHANNELS, :].unbind(-2) for start in (0, LIMB_CHANNELS)]
    left, right = (_leg(hips, *side[:3]) for side in sides)
    left_arm, right_arm = (_arm(neck, *side[3:]) for side in sides)
    return Limbs((left, right), (left_arm, right_arm), (hips, neck, crown))


def _leg(hip: Tensor, hip_angle: Tensor, knee_angle: Tensor, ankle_angle: Tensor) -> tuple[Tensor, ...]:
    knee = hip + _along(hip_angle, _THIGH)
    ankle = knee + _along(hip_angle - knee_angle, _SHANK)
    foot = _along(hip_angle - knee_angle + ankle_angle + torch.pi / 2, 1.0)
    return hip, knee, ankle, ankle - _HEEL * foot, ankle + _TOES * foot


def _arm(shoulder: Tensor, shoulder_angle: Tensor, elbow_angle: Tensor) -> tuple[Tensor, ...]:
    elbow = shoulder + _along(shoulder_angle, _UPPER_ARM)
    return shoulder, elbow, elbow + _along(shoulder_angle + elbow_angle, _FOREARM)


def _along(angle: Tensor, length: float) -> Tensor:
    """A limb that hangs at `angle` [..., S] from the vertical: [..., 2, S]."""
    return torch.stack([angle.sin(), -angle.cos()], -2) * length


def _like(values: Values) -> tuple[Values, Values]:
    if isinstance(values, Tensor):
        return torch.from_numpy(_LOW).to(values), torch.from_numpy(_HIGH).to(values)
    return _LOW, _HIGH
