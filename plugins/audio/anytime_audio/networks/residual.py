"""Strided convolutions with dilated residual units, in the manner of SoundStream, EnCodec and DAC.

Zeghidour et al., "SoundStream" (2021); Kumar et al., "High-Fidelity Audio Compression with Improved RVQGAN" (2023).

C is the number of channels of the latent map, L of audio samples, T of frames.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from anytime_audio.config import ResidualConfig
from anytime_audio.networks.convolution import Convolution

_DILATIONS = (1, 3, 9)


def build_encoder(config: ResidualConfig) -> nn.Module:
    """[B, 1, L] -> [B, C, T]."""
    first = config.widths[0]
    layers: list[nn.Module] = [_convolution(1, first, 7)]
    for (before, width), stride in zip(itertools.pairwise((first, *config.widths)), config.strides, strict=True):
        layers += [*_units(before, config), _activation(config, before), _downsample(before, width, stride)]
    layers += [_activation(config, config.widths[-1]), _convolution(config.widths[-1], config.channels, 3)]
    return nn.Sequential(*layers)


def build_decoder(config: ResidualConfig, channels: int) -> nn.Module:
    """[B, channels, T] -> [B, 1, L] in [-1, 1]: the encoder mirrored."""
    widths = tuple(reversed(config.widths))
    layers: list[nn.Module] = [_convolution(channels, widths[0], 7)]
    steps = zip(itertools.pairwise((*widths, widths[-1])), reversed(config.strides), strict=True)
    for (before, width), stride in steps:
        layers += [_activation(config, before), _upsample(before, width, stride), *_units(width, config)]
    layers += [_activation(config, widths[-1]), _convolution(widths[-1], 1, 7), nn.Tanh()]
    return nn.Sequential(*layers)


def _convolution(before: int, after: int, kernel: int, dilation: int = 1) -> nn.Module:
    return weight_norm(Convolution(before, after, kernel, padding=kernel // 2 * dilation, dilation=dilation))


def _downsample(before: int, after: int, stride: int) -> nn.Module:
    """[B, before, T] -> [B, after, T / stride]; every output sees two strides of input."""
    edges = nn.ConstantPad1d((stride // 2, stride - stride // 2), 0.0)
    return nn.Sequential(edges, weight_norm(Convolution(before, after, 2 * stride, stride=stride)))


def _upsample(before: int, after: int, stride: int) -> nn.Module:
    """[B, before, T] -> [B, after, T * stride]."""
    return weight_norm(
        nn.ConvTranspose1d(
            before, after, 2 * stride, stride=stride, padding=stride - stride // 2, output_padding=stride % 2
        )
    )


def _units(width: int, config: ResidualConfig) -> list[nn.Module]:
    return [_Unit(width, _DILATIONS[index % len(_DILATIONS)], config) for index in range(config.depth)]


def _activation(config: ResidualConfig, channels: int) -> nn.Module:
    return _Snake(channels) if config.activation == "snake" else nn.ELU()


class _Unit(nn.Module):
    """Residual unit: a dilated convolution and one of kernel 1."""

    def __init__(self, width: int, dilation: int, config: ResidualConfig) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _activation(config, width),
            _convolution(width, width, 7, dilation),
            _activation(config, width),
            _convolution(width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class _Snake(nn.Module):
    """x + sin^2(a x) / a with a learned frequency per channel (Liu et al., "Neural Networks Fail to Learn Periodic
    Functions and How to Fix It", 2020)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.ones(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.frequency * x).sin().square() / (self.frequency + 1e-6)
