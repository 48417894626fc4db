"""Encoder and decoder of motion, and a network that tells gaits apart: convolutions over time.

C is the number of channels of the latent map, S of time steps. Each entry of `widths` halves the time steps once.
"""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from anytime_motion.config import NetworkConfig
from anytime_motion.skeleton import CHANNELS

_FEATURE_WIDTHS, _FEATURES = (32, 48, 64), 128
_FEATURE_MAP = 4  # time steps


def build_encoder(config: NetworkConfig) -> nn.Sequential:
    """[B, 12, S] -> [B, C, S / 2^n] with n = len(widths)."""
    layers: list[nn.Module] = []
    for before, width in itertools.pairwise((len(CHANNELS), *config.widths)):
        layers += [nn.Conv1d(before, width, 4, stride=2, padding=1), nn.BatchNorm1d(width), nn.ReLU()]
        layers += [_ResidualBlock(width) for _ in range(config.depth)]
    return nn.Sequential(*layers, nn.Conv1d(config.widths[-1], config.channels, 3, padding=1))


def build_decoder(config: NetworkConfig, channels: int) -> nn.Sequential:
    """[B, channels, S / 2^n] -> [B, 12, S] in [-1, 1]: the encoder mirrored."""
    widths = config.widths[::-1]
    layers: list[nn.Module] = [nn.Conv1d(channels, widths[0], 3, padding=1), nn.BatchNorm1d(widths[0]), nn.ReLU()]
    for before, width in itertools.pairwise((*widths, widths[-1])):
        layers += [_ResidualBlock(before) for _ in range(config.depth)]
        layers += [nn.ConvTranspose1d(before, width, 4, stride=2, padding=1), nn.BatchNorm1d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv1d(widths[-1], len(CHANNELS), 5, padding=2), _Tanh())


def build_feature_network() -> nn.Sequential:
    """[B, 12, S] -> [B, 128]: three halvings of the time steps, averages over quarters of the clip, a linear layer."""
    layers: list[nn.Module] = []
    for before, width in itertools.pairwise((len(CHANNELS), *_FEATURE_WIDTHS)):
        layers += [nn.Conv1d(before, width, 5, stride=2, padding=2, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
    layers += [nn.AdaptiveAvgPool1d(_FEATURE_MAP), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(_FEATURE_WIDTHS[-1] * _FEATURE_MAP, _FEATURES), nn.ReLU())


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(channels, channels, 3, padding=1),
            nn.BatchNorm1d(channels),
            nn.ReLU(),
            nn.Conv1d(channels, channels, 3, padding=1),
            nn.BatchNorm1d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.body(x)).relu()


class _Tanh(nn.Tanh):
    """In float32 under autocast too, so that movement keeps its smoothness."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.float())
