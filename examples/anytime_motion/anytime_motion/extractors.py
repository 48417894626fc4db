"""Kinematic statistics, by which sets of motions are compared.

S is the number of time steps.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from anytime_core.modality import Extractor, OfferedExtractor, WeightsSource
from anytime_motion.skeleton import LIMB_CHANNELS, RATE, pose, to_units

_BAND_EDGES = (0.3, 0.8, 1.3, 2.1, 3.5)  # Hz, between the tempos of gaits and of their harmonics
_FULL_SPEED = 360.0  # degrees a second


def kinematic_statistics(x: Tensor) -> Tensor:
    """Features of a movement that do not depend on where in its cycle it begins: [B, 12, S] -> [B, 112].

    For each channel: mean, deviation, speed, and amplitude in five bands of frequencies from 0.3 Hz. For each pair of
    limbs: how much left and right move together. For the figure: mean angle to the vertical and speed of its limbs.
    """
    values = to_units(x)
    speeds = values[:, :-1].diff(dim=-1) * RATE / _FULL_SPEED
    moving = x - x.mean(-1, keepdim=True)
    left, right = moving[:, :LIMB_CHANNELS], moving[:, LIMB_CHANNELS : 2 * LIMB_CHANNELS]
    statistics = [x.mean(-1), x.std(-1), speeds.abs().mean(-1), _bands(moving).flatten(1), (left * right).mean(-1)]
    return torch.cat([*statistics, *_limb_angles(values)], 1)


def _bands(moving: Tensor) -> Tensor:
    """Amplitude in each band of frequencies: [B, 12, 5]."""
    window = torch.hann_window(moving.shape[-1], device=moving.device)
    powers = torch.fft.rfft(moving * window, norm="forward").abs().square()
    frequencies = torch.fft.rfftfreq(moving.shape[-1], 1 / RATE, device=moving.device)
    ends = (*_BAND_EDGES[1:], RATE)
    bands = [(frequencies >= low) & (frequencies < high) for low, high in zip(_BAND_EDGES, ends, strict=True)]
    return torch.stack([(powers * band).sum(-1).sqrt() for band in bands], -1)


def _limb_angles(values: Tensor) -> list[Tensor]:
    """Mean angles of shanks and forearms to the vertical, which no channel holds, and their mean speeds."""
    limbs = pose(values)
    chains = [(leg[1], leg[2]) for leg in limbs.legs] + [(arm[1], arm[2]) for arm in limbs.arms]
    along = torch.stack([end - begin for begin, end in chains], 1)  # [B, 4, 2, S]
    directions = along / along.norm(dim=-2, keepdim=True).clamp(min=1e-6)
    turns = directions.diff(dim=-1).norm(dim=-2) * RATE  # radians a second
    return [directions.mean(-1).flatten(1), turns.mean(-1) / torch.pi]


def _kinematics(source: WeightsSource) -> Extractor:
    return Extractor("kinematic statistics, 112 features, nothing trained", kinematic_statistics)


EXTRACTORS: Mapping[str, OfferedExtractor] = {"kinematics": OfferedExtractor(_kinematics, default=True)}
"""Extractors by name."""
