"""Reconstruction losses of sounds, each (x_hat, x) [B, 1, L] -> [B].

L is the number of audio samples, F of frequencies, M of mel bands, T of frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from anytime_audio.config import LossConfig
from anytime_audio.spectra import magnitudes, mel_filters

Measure = Callable[[Tensor, Tensor], Tensor]

_WINDOW_SECONDS = (0.008, 0.016, 0.032, 0.064)
_MEL_BANDS = (10, 20, 40, 80)
# Share of the amplitude of a full-scale sine: anything softer than -60 dB counts as silence.
_FLOOR = 1e-3


def mean_squared_error(x_hat: Tensor, x: Tensor) -> Tensor:
    """Mean over audio samples of the squared difference."""
    return (x_hat - x).square().flatten(1).mean(1)


def mean_absolute_error(x_hat: Tensor, x: Tensor) -> Tensor:
    """Mean over audio samples of the absolute difference (L1)."""
    return (x_hat - x).abs().flatten(1).mean(1)


def log_mel_distance(x_hat: Tensor, x: Tensor, *, rate: int) -> Tensor:
    """Mean absolute difference of log-mel spectra in nepers, averaged over windows of 8, 16, 32 and 64 ms.

    They have 10, 20, 40 and 80 mel bands and hops of a quarter of the window (after Kumar et al. 2023); a neper is
    8.7 dB. Amplitudes are those of sines, 1 at full scale; below -60 dB they count as -60 dB.
    """
    total = x.new_zeros(len(x))
    for size, bands in _resolutions(rate):
        filters = mel_filters(size, bands, rate, device=x.device)
        logs = (
            magnitudes(signal, size).transpose(1, 2).matmul(filters).clamp(min=_FLOOR).log() for signal in (x_hat, x)
        )
        total = total + _difference(*logs)
    return total / len(_WINDOW_SECONDS)


def stft_distance(x_hat: Tensor, x: Tensor, *, rate: int) -> Tensor:
    """Spectral convergence plus log-magnitude distance, averaged over windows of 8, 16, 32 and 64 ms.

    Yamamoto et al., "Parallel WaveGAN" (2020), equations 4 to 6.
    """
    total = x.new_zeros(len(x))
    for size, _ in _resolutions(rate):
        estimated, true = magnitudes(x_hat, size), magnitudes(x, size)
        difference, scale = (_root_mean_square(values) for values in (estimated - true, true))
        convergence = difference / scale.clamp(min=_FLOOR)
        logs = (values.clamp(min=_FLOOR).log() for values in (estimated, true))
        total = total + convergence + _difference(*logs)
    return total / len(_WINDOW_SECONDS)


def build_loss(config: LossConfig, rate: int) -> Measure:
    """The weighted sum of the terms that `config` asks for."""
    terms: Mapping[str, Measure] = {
        "log_mel": partial(log_mel_distance, rate=rate),
        "stft": partial(stft_distance, rate=rate),
        "mse": mean_squared_error,
        "l1": mean_absolute_error,
    }
    weights = {name: weight for name, weight in config.model_dump().items() if weight}

    def loss(x_hat: Tensor, x: Tensor) -> Tensor:
        return torch.stack([weight * terms[name](x_hat, x) for name, weight in weights.items()]).sum(0)

    return loss


def _difference(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().flatten(1).mean(1)


def _root_mean_square(values: Tensor) -> Tensor:
    return values.flatten(1).norm(dim=1) / values[0].numel() ** 0.5


def _resolutions(rate: int) -> list[tuple[int, int]]:
    """Window sizes, which are powers of two, with their numbers of mel bands."""
    return [(2 ** round(math.log2(rate * s)), bands) for s, bands in zip(_WINDOW_SECONDS, _MEL_BANDS, strict=True)]
