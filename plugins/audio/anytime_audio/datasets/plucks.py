"""Plucked strings (Karplus and Strong, "Digital Synthesis of Plucked-String and Drum Timbres", 1983).

A burst of noise goes round a delay line whose length is the period. In each round every value is averaged with its
neighbour, so that high partials die first. Tuning and pick position follow Jaffe and Smith, "Extensions of the
Karplus-Strong Plucked-String Algorithm" (1983).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from anytime_audio.datasets.clips import Clips
from anytime_audio.datasets.files import ClipForm

PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
"""Labels of the clips: index modulo 12."""

_LOWEST_C = 130.81  # Hz
_OCTAVES = 2


def pluck(index: int, form: ClipForm) -> np.ndarray:
    """Clip number `index`, float32 [length]; it is the same in every call. Its pitch class is `index` modulo 12."""
    from scipy.signal import lfilter

    noise = np.random.default_rng([index, 1983])
    octave = noise.integers(_OCTAVES)
    frequency = _LOWEST_C * 2 ** (octave + (index % len(PITCH_CLASSES) + noise.normal(0, 0.05)) / 12)
    # The average of two neighbours delays by half a sample.
    period = form.rate / frequency - 0.5
    delay, fraction = int(period), period - int(period)
    burst = noise.uniform(-1, 1, delay)
    brightness = noise.uniform(0.2, 0.9)
    burst = lfilter([brightness], [1, brightness - 1], burst)
    pick = max(1, round(noise.uniform(0.1, 0.4) * delay))
    excitation = np.zeros(max(form.length, delay + pick))
    excitation[: delay + pick] = np.pad(burst, (0, pick)) - np.pad(burst, (pick, 0))[: delay + pick]
    # One round: delay by `delay + fraction` (linear interpolation), average with the neighbour, lose a little.
    interpolation = np.array([1 - fraction, fraction])
    loss = 0.001 ** (1 / (frequency * noise.uniform(0.4, 1.5)))  # -60 dB after 0.4 to 1.5 seconds
    loop = loss * np.convolve(interpolation, [0.5, 0.5])
    string = lfilter([1.0], np.concatenate([[1.0], np.zeros(delay - 1), -loop]), excitation)
    string = string[: form.length] - string[: form.length].mean()
    return (string * (form.peak / np.abs(string).max())).astype(np.float32)


def synthesise(indices: Sequence[int], form: ClipForm) -> Clips:
    """Clips of the given numbers, in memory, with their pitch classes as labels."""
    clips = np.stack([pluck(index, form) for index in indices])
    labels = torch.tensor([index % len(PITCH_CLASSES) for index in indices])
    return Clips(np.round(clips * Clips.FULL_SCALE).astype(np.int16), labels)
