"""The networks of Xu et al. 2021 for sound: plain strided convolutions over audio samples, and a learned post filter.

C is the number of channels of the latent map, L of audio samples, T of frames.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from anytime_audio.config import WaveConfig
from anytime_audio.networks.convolution import Convolution

_SLOPE = 0.2


def build_encoder(config: WaveConfig) -> nn.Module:
    """[B, 1, L] -> [B, C, T]."""
    layers: list[nn.Module] = []
    for before, width in itertools.pairwise((1, *config.widths)):
        layers += [_convolution(before, width, config.kernel, config.stride), *_activation(width)]
    layers.append(_convolution(config.widths[-1], config.channels, 3))
    return nn.Sequential(*layers)


def build_decoder(config: WaveConfig, channels: int) -> nn.Module:
    """[B, channels, T] -> [B, 1, L]: each layer repeats frames `stride` times and convolves."""
    widths = tuple(reversed(config.widths))
    layers: list[nn.Module] = [_convolution(channels, widths[0], 3), *_activation(widths[0])]
    for before, width in itertools.pairwise(widths):
        layers += [
            nn.Upsample(scale_factor=config.stride),
            _convolution(before, width, config.kernel),
            *_activation(width),
        ]
    layers += [nn.Upsample(scale_factor=config.stride), _convolution(widths[-1], 1, config.kernel), nn.Tanh()]
    if config.post_filter:
        layers.append(_PostFilter(config.post_filter))
    return nn.Sequential(*layers)


def _activation(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm1d(channels), nn.LeakyReLU(_SLOPE)


def _convolution(before: int, after: int, kernel: int, stride: int = 1) -> nn.Module:
    return Convolution(before, after, kernel, stride=stride, padding=kernel // 2)


class _PostFilter(nn.Module):
    """A learned filter of the output (Donahue et al., "Adversarial Audio Synthesis", 2019), first the identity."""

    def __init__(self, taps: int) -> None:
        super().__init__()
        impulse = torch.zeros(taps)
        impulse[taps // 2] = 1
        self.impulse_response = nn.Parameter(impulse)

    def forward(self, x: Tensor) -> Tensor:
        taps = len(self.impulse_response)
        response = self.impulse_response.expand(1, 1, -1)
        length = x.shape[-1] + taps - 1
        filtered = torch.fft.irfft(torch.fft.rfft(x.float(), n=length) * torch.fft.rfft(response, n=length), n=length)
        return filtered[..., taps // 2 : taps // 2 + x.shape[-1]]
