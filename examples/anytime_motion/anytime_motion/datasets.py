"""Generated motion: a figure that walks, runs, marches, hops, squats or waves.

A gait is a cycle of key poses. Each joint follows a trigonometric polynomial through its key angles, in the phase of
an oscillator whose tempo drifts. The other side of the body is half a cycle behind, or in step. Each performance has a
tempo, vigour, posture and asymmetry of its own, and smooth noise. The hips are as high as the legs hold them, or as
gravity has them in the air. Leg angles of walking follow Winter, "Biomechanics and Motor Control of Human Movement"
(2009).

n is the number of samples, S of time steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from torch import Tensor

from anytime_core.modality import Datasets
from anytime_motion.config import DataConfig
from anytime_motion.skeleton import RATE, from_units, pose

_GRAVITY = 9.81  # metres a second squared
_HARMONICS = np.arange(1, 4)[:, None]
_SMOOTHING = np.hanning(RATE // 3 + 2)

Keys = tuple[float, ...]
"""Angles in degrees at evenly spaced phases of a cycle."""

_HANGING: tuple[Keys, Keys] = (0,), (10,)  # shoulder and elbow of an idle arm


@dataclass(frozen=True)
class Gait:
    """A cycle of movement, starting where the foot meets the ground.

    Attributes:
        tempo: slowest and fastest, in cycles a second.
        hip, knee, ankle, shoulder, elbow: of one side.
        trunk: its lean.
        alternating: whether the other side is half a cycle behind; else both sides move together.
        one_armed: whether only one arm moves, left or right; the other one hangs.
        flight: begin and end of the time in the air, as shares of the cycle.
    """

    tempo: tuple[float, float]
    hip: Keys
    knee: Keys
    ankle: Keys
    shoulder: Keys
    elbow: Keys
    trunk: Keys = (3,)
    alternating: bool = True
    one_armed: bool = False
    flight: tuple[tuple[float, float], ...] = ()


GAITS: dict[str, Gait] = {
    "walk": Gait(
        tempo=(0.75, 1.05),
        hip=(24, 20, 9, -4, -12, -3, 18, 27),
        knee=(4, 17, 12, 6, 13, 43, 60, 27),
        ankle=(0, -4, 4, 9, 6, -16, -4, 2),
        shoulder=(-24, -19, -3, 13, 20, 14, -3, -19),
        elbow=(12, 13, 18, 25, 30, 26, 18, 13),
    ),
    "run": Gait(
        tempo=(1.25, 1.65),
        hip=(35, 22, 3, -16, -12, 18, 46, 48),
        knee=(18, 40, 28, 18, 58, 105, 88, 36),
        ankle=(4, 22, 15, -24, -16, -4, 2, 3),
        shoulder=(-42, -32, -8, 16, 28, 18, -8, -32),
        elbow=(85, 84, 88, 96, 102, 98, 92, 88),
        trunk=(12,),
        flight=((0.38, 0.5), (0.88, 1.0)),
    ),
    "march": Gait(
        tempo=(0.8, 1.1),
        hip=(12, 2, -2, -4, 2, 58, 88, 58),
        knee=(8, 4, 2, 2, 12, 74, 92, 58),
        ankle=(-2, 1, 3, 5, 0, -8, 0, 0),
        shoulder=(14, 52, 66, 46, 8, -30, -46, -28),
        elbow=(6, 6, 6, 8, 10, 10, 8, 6),
        trunk=(-2,),
    ),
    "hop": Gait(
        tempo=(1.35, 1.85),
        hip=(18, 42, 34, 12, 0, 6, 12, 14),
        knee=(22, 66, 56, 18, 4, 14, 22, 20),
        ankle=(2, 22, 18, -14, -34, -30, -20, -10),
        shoulder=(0, -30, -30, 10, 45, 50, 36, 16),
        elbow=(30, 24, 26, 40, 54, 56, 48, 38),
        trunk=(8, 20, 16, 6, 2, 2, 4, 5),
        alternating=False,
        flight=((0.5, 1.0),),
    ),
    "squat": Gait(
        tempo=(0.4, 0.62),
        hip=(2, 14, 50, 82, 92, 82, 50, 14),
        knee=(2, 20, 66, 106, 118, 106, 66, 20),
        ankle=(0, 6, 16, 24, 26, 24, 16, 6),
        shoulder=(4, 22, 58, 84, 90, 84, 58, 22),
        elbow=(6, 6, 6, 6, 6, 6, 6, 6),
        trunk=(2, 8, 22, 34, 38, 34, 22, 8),
        alternating=False,
    ),
    "wave": Gait(
        tempo=(1.1, 1.9),
        hip=(1,),
        knee=(3,),
        ankle=(2,),
        shoulder=(128, 132, 134, 132, 128, 124, 122, 124),
        elbow=(14, 26, 52, 80, 92, 80, 52, 26),
        trunk=(0,),
        alternating=False,
        one_armed=True,
    ),
}
"""Gaits by the names of their classes."""

CLASSES = tuple(GAITS)
"""Names of the labels."""


class Motions:
    """Performances held in memory: `x` float32 [n, 12, S] and `labels` int64 [n]."""

    def __init__(self, x: Tensor, labels: Tensor) -> None:
        self.x, self.labels = x, labels

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"x": self.x[index], "label": int(self.labels[index])}

    def batch(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """Items `indices` as one batch."""
        picked = torch.as_tensor(indices)
        return {"x": self.x[picked], "label": self.labels[picked]}


def load_datasets(config: DataConfig) -> Datasets:
    """Training and validation performances: they are the same in every call, with all classes in turn."""
    # Validation comes first, so that it does not depend on the number of training samples.
    parts = range(config.validation), range(config.validation, config.validation + config.train)
    validation, train = (perform(numbers, config.steps, config.seed) for numbers in parts)
    return Datasets(train, validation, CLASSES)


def perform(numbers: Sequence[int], steps: int, seed: int) -> Motions:
    """Performances by number: each follows from its number and the seed; its class is its number modulo 6.

    The hips are placed so that the lowest part of the feet is on the ground, or as high above it as in flight.
    """
    moving = [_performance(number, steps, seed) for number in numbers]
    values = torch.from_numpy(np.stack(moving))
    flight = values[:, -1].clone()
    lowest = pose(values).joints()[:, :, 1].amin(1) - flight  # [n, S], relative to the hips
    values[:, -1] = flight - lowest
    return Motions(from_units(values), torch.tensor(numbers) % len(CLASSES))


def _performance(number: int, steps: int, seed: int) -> np.ndarray:
    """Degrees and, instead of the height of the hips, the height of the flight in metres: float32 [12, S]."""
    noise = np.random.default_rng([seed, number])
    gait = GAITS[CLASSES[number % len(CLASSES)]]
    tempo = noise.uniform(*gait.tempo)
    drift = 0.02 * _smooth(noise, 1, steps)[0]
    phase = noise.uniform() + tempo * np.arange(steps) / RATE + drift  # in cycles
    lag = 0.5 * gait.alternating + noise.normal(0, 0.015)
    # Quick figures take larger strides.
    vigour = noise.normal(1, 0.08) * (2 * tempo / sum(gait.tempo)) ** 0.5
    sides = [
        _limbs(gait, phase_of_side, vigour * noise.normal(1, 0.04), moves_arm=moves_arm)
        for phase_of_side, moves_arm in zip((phase, phase - lag), _moving_arms(gait, noise), strict=True)
    ]
    angles = np.concatenate([*sides, _curves((gait.trunk,), phase, vigour)])
    angles += noise.normal(0, 2.5, (len(angles), 1)) + 1.5 * _smooth(noise, len(angles), steps)
    return np.concatenate([angles, _flight(gait, phase, tempo)[None]]).astype(np.float32)


def _moving_arms(gait: Gait, noise: np.random.Generator) -> tuple[bool, bool]:
    left = bool(noise.integers(2))
    return (left, not left) if gait.one_armed else (True, True)


def _limbs(gait: Gait, phase: np.ndarray, vigour: float, *, moves_arm: bool) -> np.ndarray:
    """Hip, knee, ankle, shoulder and elbow of one side in degrees: [5, S]."""
    arm = (gait.shoulder, gait.elbow) if moves_arm else _HANGING
    return _curves((gait.hip, gait.knee, gait.ankle, *arm), phase, vigour)


def _curves(keys: tuple[Keys, ...], phase: np.ndarray, vigour: float) -> np.ndarray:
    """Trigonometric polynomials through keys at `phase` [S] in cycles: [len(keys), S].

    Their swing about the mean is multiplied by `vigour`.
    """
    coefficients = _fourier(keys)
    turns = np.exp(2j * np.pi * _HARMONICS * phase)
    return coefficients[:, :1].real + 2 * vigour * (coefficients[:, 1:] @ turns).real


@cache
def _fourier(keys: tuple[Keys, ...]) -> np.ndarray:
    """Mean and harmonics of each: complex [len(keys), 4]."""
    coefficients = np.zeros((len(keys), 1 + len(_HARMONICS)), dtype=complex)
    for row, angles in zip(coefficients, keys, strict=True):
        known = np.fft.rfft(angles, norm="forward")[: len(row)]
        row[: len(known)] = known
    return coefficients


def _flight(gait: Gait, phase: np.ndarray, tempo: float) -> np.ndarray:
    """Height of the feet above the ground in metres, [S]: the parabola of a throw while in the air."""
    height = np.zeros_like(phase)
    for begin, end in gait.flight:
        seconds = (end - begin) / tempo
        done = (phase % 1 - begin) / (end - begin)
        height += _GRAVITY * seconds**2 / 2 * (done * (1 - done)).clip(0)
    return height


def _smooth(noise: np.random.Generator, rows: int, steps: int) -> np.ndarray:
    """Noise of standard deviation 1 that changes over about a third of a second: [rows, S]."""
    window = _SMOOTHING / np.linalg.norm(_SMOOTHING)
    white = noise.normal(size=(rows, steps + len(window) - 1))
    return sliding_window_view(white, len(window), axis=1) @ window
