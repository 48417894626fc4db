"""Encoders and decoders of sound: three families of 1-D convolutions behind one option, `network.kind`.

`features`, with two-dimensional convolutions, tells sounds apart.

C is the number of channels of the latent map, T of its frames, L of the audio samples of a clip.
"""

from __future__ import annotations

from torch import nn

from anytime_audio.config import NetworkConfig
from anytime_audio.networks import residual, spectral, wave

_FAMILIES = {"spectral": spectral, "wave": wave, "residual": residual}


def build_encoder(config: NetworkConfig) -> nn.Module:
    """[B, 1, L] -> [B, C, T] with T = L / config.samples_per_frame."""
    return _FAMILIES[config.kind].build_encoder(config)


def build_decoder(config: NetworkConfig, channels: int) -> nn.Module:
    """[B, channels, T] -> [B, 1, L]."""
    return _FAMILIES[config.kind].build_decoder(config, channels)


__all__ = ["build_decoder", "build_encoder"]
