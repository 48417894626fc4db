"""Reconstruction losses of sounds, each (x_hat, x) [B, 1, L] -> [B].

Letters: B batch, L audio samples, F frequencies, M mel bands, T frames.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache, partial

import torch
import torchaudio
from torch import Tensor

from anytime_audio.config import LossConfig

Measure = Callable[[Tensor, Tensor], Tensor]

_WINDOW_SECONDS = (0.008, 0.016, 0.032, 0.064)
_MEL_BANDS = (10, 20, 40, 80)
# Of the amplitude of a full-scale sine: softer than -60 dB counts as silence.
_FLOOR = 1e-3


def mean_squared_error(x_hat: Tensor, x: Tensor) -> Tensor:
    """Mean over audio samples of the squared difference."""
    return (x_hat - x).square().flatten(1).mean(1)


def mean_absolute_error(x_hat: Tensor, x: Tensor) -> Tensor:
    """Mean over audio samples of the absolute difference (L1)."""
    return (x_hat - x).abs().flatten(1).mean(1)


def log_mel_distance(x_hat: Tensor, x: Tensor, *, rate: int) -> Tensor:
    """Mean absolute difference of log-mel spectra in nepers, averaged over windows of 8, 16, 32 and 64 ms.

    Each with 10, 20, 40 and 80 mel bands and hops of a quarter of the window (after Kumar et al. 2023); a neper is
    8.7 dB. Amplitudes are of sines, a full-scale one being 1, and those under -60 dB count as -60 dB.
    """
    total = x.new_zeros(len(x))
    for size, bands in _resolutions(rate):
        filters = _mel_filters(size, bands, rate).to(x.device)
        logs = (
            _magnitudes(signal, size).transpose(1, 2).matmul(filters).clamp(min=_FLOOR).log() for signal in (x_hat, x)
        )
        total = total + _difference(*logs)
    return total / len(_WINDOW_SECONDS)


def stft_distance(x_hat: Tensor, x: Tensor, *, rate: int) -> Tensor:
    """Spectral convergence plus log-magnitude distance, averaged over windows of 8, 16, 32 and 64 ms.

    Yamamoto et al., "Parallel WaveGAN" (2020), equations 4 to 6.
    """
    total = x.new_zeros(len(x))
    for size, _ in _resolutions(rate):
        estimated, true = _magnitudes(x_hat, size), _magnitudes(x, size)
        difference, scale = (_root_mean_square(values) for values in (estimated - true, true))
        convergence = difference / scale.clamp(min=_FLOOR)
        logs = (magnitudes.clamp(min=_FLOOR).log() for magnitudes in (estimated, true))
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
    """Window sizes, as powers of two, with their numbers of mel bands."""
    return [(2 ** round(math.log2(rate * s)), bands) for s, bands in zip(_WINDOW_SECONDS, _MEL_BANDS, strict=True)]


def _magnitudes(x: Tensor, size: int) -> Tensor:
    """[B, 1, L] -> [B, F, T], scaled so that a full-scale sine has about 1."""
    window = _window(size).to(x.device)
    padded = torch.nn.functional.pad(x.float().squeeze(1), (size // 2, size // 2))
    spectrum = torch.stft(padded, size, size // 4, window=window, center=False, return_complex=True)
    # The square root has no gradient at zero.
    return (spectrum.real.square() + spectrum.imag.square() + 1e-12).sqrt() * (2 / window.sum())


@cache
def _window(size: int) -> Tensor:
    with torch.inference_mode(False):  # what is kept must be fit for training later on
        return torch.hann_window(size)


@cache
def _mel_filters(size: int, bands: int, rate: int) -> Tensor:
    """[F, M]."""
    with torch.inference_mode(False):
        return torchaudio.functional.melscale_fbanks(size // 2 + 1, 0.0, rate / 2, bands, rate, norm=None)
