"""Image encoders and decoders, and a network that tells images apart.

C is the number of channels of the latent map, H and W are height and width in pixels. Each entry of `widths` halves the
resolution once: with two of them 28 x 28 pixels become a 7 x 7 map.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from anytime_image.config import NetworkConfig, Norm

_FEATURE_WIDTHS, _FEATURES = (16, 32, 64), 128
_FEATURE_MAP = 4  # pixels of a side


def build_encoder(config: NetworkConfig, image_channels: int) -> nn.Sequential:
    """[B, image_channels, H, W] -> [B, C, H / 2^n, W / 2^n] with n = len(widths).

    Without depth these are the networks of Xu et al. 2021: 4x4 convolutions of stride 2, normalisation, ReLU, and a 3x3
    convolution to C channels.
    """
    layers: list[nn.Module] = []
    before = image_channels
    for width in config.widths:
        layers += [nn.Conv2d(before, width, 4, stride=2, padding=1), *_activation(config.encoder_norm, width)]
        layers += _further(config.kind, width, config.encoder_norm, config.depth)
        before = width
    layers.append(nn.Conv2d(before, config.channels, 3, padding=1))
    return _channels_last(layers)


def build_decoder(config: NetworkConfig, channels: int, image_channels: int) -> nn.Sequential:
    """[B, channels, H / 2^n, W / 2^n] -> [B, image_channels, H, W] in [-1, 1]: the encoder mirrored."""
    widths = tuple(reversed(config.widths))
    layers: list[nn.Module] = [
        nn.Conv2d(channels, widths[0], 3, padding=1),
        *_activation(config.decoder_norm, widths[0]),
        *_further(config.kind, widths[0], config.decoder_norm, config.depth),
    ]
    for before, width in itertools.pairwise(widths):
        layers += [nn.ConvTranspose2d(before, width, 4, stride=2, padding=1), *_activation(config.decoder_norm, width)]
        layers += _further(config.kind, width, config.decoder_norm, config.depth)
    layers += [nn.ConvTranspose2d(widths[-1], image_channels, 4, stride=2, padding=1), _Tanh()]
    return _channels_last(layers)


def build_feature_network(image_channels: int, size: int) -> nn.Sequential:
    """[B, image_channels, size, size] -> [B, 128]: convolutions that halve the image until its side has 4 pixels.

    There are at least three, the first ones at full resolution if the image is small; then a layer over all pixels.
    """
    halvings = math.ceil(math.log2(size / _FEATURE_MAP))
    strides = [1] * (len(_FEATURE_WIDTHS) - halvings) + [2] * halvings
    widths = _FEATURE_WIDTHS + _FEATURE_WIDTHS[-1:] * (len(strides) - len(_FEATURE_WIDTHS))
    layers: list[nn.Module] = []
    for (before, width), stride in zip(itertools.pairwise((image_channels, *widths)), strides, strict=True):
        layers += [nn.Conv2d(before, width, 3, stride, padding=1, bias=False), *_activation("batch", width)]
    layers += [nn.AdaptiveAvgPool2d(_FEATURE_MAP), nn.Flatten()]
    return _channels_last([*layers, nn.Linear(widths[-1] * _FEATURE_MAP**2, _FEATURES), nn.ReLU()])


def _channels_last(layers: list[nn.Module]) -> nn.Sequential:
    """A chain of layers in the memory format that makes convolutions fastest, on CPUs and on GPUs."""
    network = nn.Sequential(*layers)
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def _further(kind: str, width: int, norm: Norm, depth: int) -> list[nn.Module]:
    if kind == "residual":
        return [_ResidualBlock(width, norm) for _ in range(depth)]
    return [layer for _ in range(depth) for layer in (nn.Conv2d(width, width, 3, padding=1), *_activation(norm, width))]


def _activation(norm: Norm, channels: int) -> tuple[nn.Module, nn.Module]:
    return _normalisation(norm, channels), nn.ReLU()


def _normalisation(norm: Norm, channels: int) -> nn.Module:
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.GroupNorm(next(groups for groups in range(8, 0, -1) if channels % groups == 0), channels)


class _ResidualBlock(nn.Module):
    """Pre-activation residual block (He et al., "Identity Mappings in Deep Residual Networks", 2016)."""

    def __init__(self, channels: int, norm: Norm) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_activation(norm, channels),
            nn.Conv2d(channels, channels, 3, padding=1),
            *_activation(norm, channels),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class _Tanh(nn.Tanh):
    """In float32 under autocast too, so that pixels near the ends of [-1, 1] keep their precision."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float())
