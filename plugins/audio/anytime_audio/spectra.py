"""Spectra of clips, in frequencies and in mel bands.

L is the number of audio samples, F of frequencies, M of mel bands, T of frames.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch
from torch import Tensor


def magnitudes(x: Tensor, size: int) -> Tensor:
    """[B, 1, L] -> [B, F, T] in windows of `size`, a quarter apart, scaled so that a full-scale sine has about 1."""
    window = _window(size, x.device)
    padded = torch.nn.functional.pad(x.float().squeeze(1), (size // 2, size // 2))
    spectrum = torch.stft(padded, size, size // 4, window=window, center=False, return_complex=True)
    # The square root has no gradient at zero.
    return (spectrum.real.square() + spectrum.imag.square() + 1e-12).sqrt() * (2 / window.sum())


@cache
def mel_filters(
    size: int,
    bands: int,
    rate: int,
    scale: Literal["htk", "slaney"] = "htk",
    device: torch.device = torch.device("cpu"),  # noqa: B008
) -> Tensor:
    """[F, M], how much each frequency counts in each band of the mel scale, up to half the rate."""
    from torchaudio.functional import melscale_fbanks

    with torch.inference_mode(False):  # kept tensors must be usable in later training
        return melscale_fbanks(size // 2 + 1, 0.0, rate / 2, bands, rate, norm=None, mel_scale=scale).to(device)


@cache
def _window(size: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.hann_window(size).to(device)
