"""The networks of Xu et al. 2021 for sound: plain strided convolutions over audio samples, and a learned post filter.

Letters: B batch, C channels of the latent map, L audio samples, T frames.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from anytime_core.config import Section

_SLOPE = 0.2


class WaveConfig(Section):
    """The paper's convolutions over audio samples."""

    kind: Literal["wave"] = Field("wave", description="the paper's convolutions over audio samples")
    channels: int = Field(
        128, ge=1, le=2**16, description="channels C of the latent map; on the channel axis the number of codes"
    )
    widths: tuple[Annotated[int, Field(ge=1, le=2**14)], ...] = Field(
        (64, 128, 256), min_length=1, max_length=8, description="channels after each stride"
    )
    stride: int = Field(4, ge=2, le=16, description="factor from one layer's rate to the next one's")
    kernel: int = Field(25, ge=3, le=255, description="taps of the convolutions, an odd number")
    post_filter: int = Field(512, ge=0, le=2**14, description="taps of the filter after the decoder; 0: none")

    @field_validator("kernel")
    @classmethod
    def _has_a_middle(cls, kernel: int) -> int:
        if kernel % 2 == 0:
            raise ValueError("a kernel has an odd number of taps")
        return kernel

    @property
    def samples_per_frame(self) -> int:
        """L / T."""
        return self.stride ** len(self.widths)


def build_encoder(config: WaveConfig) -> nn.Module:
    """[B, 1, L] -> [B, C, T]."""
    layers: list[nn.Module] = []
    for before, width in itertools.pairwise((1, *config.widths)):
        layers += [
            nn.Conv1d(before, width, config.kernel, stride=config.stride, padding=config.kernel // 2),
            nn.BatchNorm1d(width),
            nn.LeakyReLU(_SLOPE),
        ]
    layers.append(nn.Conv1d(config.widths[-1], config.channels, 3, padding=1))
    return nn.Sequential(*layers)


def build_decoder(config: WaveConfig, channels: int) -> nn.Module:
    """[B, channels, T] -> [B, 1, L] in [-1, 1]: each layer repeats frames `stride` times and convolves."""
    widths = tuple(reversed(config.widths))
    layers: list[nn.Module] = [nn.Conv1d(channels, widths[0], 3, padding=1), nn.LeakyReLU(_SLOPE)]
    for before, width in itertools.pairwise((*widths, widths[-1])):
        layers += [
            nn.Upsample(scale_factor=config.stride),
            nn.Conv1d(before, width, config.kernel, padding=config.kernel // 2),
            nn.BatchNorm1d(width),
            nn.LeakyReLU(_SLOPE),
        ]
    layers += [nn.Conv1d(widths[-1], 1, config.kernel, padding=config.kernel // 2), nn.Tanh()]
    if config.post_filter:
        layers.append(_PostFilter(config.post_filter))
    return nn.Sequential(*layers)


class _PostFilter(nn.Module):
    """A learned filter of the output (Donahue et al., "Adversarial Audio Synthesis", 2019), at first the identity."""

    def __init__(self, taps: int) -> None:
        super().__init__()
        weight = torch.zeros(1, 1, taps)
        weight[..., taps // 2] = 1
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        taps = self.weight.shape[-1]
        return F.conv1d(F.pad(x, (taps // 2, taps - 1 - taps // 2)), self.weight)
