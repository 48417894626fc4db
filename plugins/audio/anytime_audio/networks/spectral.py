"""Networks at the frame rate: 1-D ConvNeXt blocks over STFT frames, and a decoder that predicts an STFT.

The decoder follows Siuzdak, "Vocos: Closing the gap between time-domain and Fourier-based neural vocoders" (ICLR
2024); the blocks follow Liu et al., "A ConvNet for the 2020s" (CVPR 2022). All layers work on one frame per hop,
so they process 1 / hop of what convolutions over audio samples would.

C is the number of channels of the latent map, L of audio samples, T of frames, F of frequencies, W the width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anytime_audio.config import SpectralConfig
from anytime_audio.networks.convolution import Convolution

_KERNEL = 7
_MAGNITUDE_FLOOR = 1e-3
_LARGEST_LOG_MAGNITUDE = 7.0


def build_encoder(config: SpectralConfig) -> nn.Module:
    """[B, 1, L] -> [B, C, L / hop]."""
    return nn.Sequential(
        _Spectrum(config.window, config.hop),
        *_body(_Spectrum.features(config.window), config),
        nn.Conv1d(config.width, config.channels, 1),
    )


def build_decoder(config: SpectralConfig, channels: int) -> nn.Module:
    """[B, channels, T] -> [B, 1, T * hop]."""
    return nn.Sequential(
        *_body(channels, config),
        _InverseSpectrum(config.width, config.window, config.hop),
    )


def _body(channels: int, config: SpectralConfig) -> list[nn.Module]:
    blocks = [_Block(config.width, config.expansion, config.depth) for _ in range(config.depth)]
    return [nn.Conv1d(channels, config.width, 1), _FrameNorm(config.width), *blocks, _FrameNorm(config.width)]


class _Spectrum(nn.Module):
    """[B, 1, L] -> [B, 3F, T]: log magnitudes, and the complex STFT with its magnitudes compressed."""

    window: Tensor

    def __init__(self, window: int, hop: int) -> None:
        super().__init__()
        self.hop = hop
        self.register_buffer("window", torch.hann_window(window), persistent=False)

    @staticmethod
    def features(window: int) -> int:
        return 3 * (window // 2 + 1)

    def forward(self, x: Tensor) -> Tensor:
        size = len(self.window)
        edge = (size - self.hop) // 2
        padded = F.pad(x.float().squeeze(1), (edge, edge))
        spectrum = torch.stft(padded, size, self.hop, window=self.window, center=False, return_complex=True)
        magnitude = spectrum.abs().clamp(min=_MAGNITUDE_FLOOR)
        compressed = torch.view_as_real(spectrum / magnitude.sqrt())  # [B, F, T, 2]
        return torch.cat([magnitude.log(), compressed[..., 0], compressed[..., 1]], 1)


class _InverseSpectrum(nn.Module):
    """[B, W, T] -> [B, 1, T * hop]: predicts magnitudes and phases, and overlaps and adds their inverse transforms."""

    window: Tensor

    def __init__(self, width: int, window: int, hop: int) -> None:
        super().__init__()
        self.hop = hop
        self.head = nn.Conv1d(width, window + 2, 1)
        self.register_buffer("window", torch.hann_window(window), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        log_magnitude, phase = self.head(x).float().chunk(2, 1)  # [B, F, T] each
        spectrum = torch.polar(log_magnitude.clamp(max=_LARGEST_LOG_MAGNITUDE).exp(), phase)
        frames = torch.fft.irfft(spectrum, n=len(self.window), dim=1) * self.window[:, None]  # [B, window, T]
        weights = self.window.square()[:, None].expand(1, -1, x.shape[-1])
        return self._add_up(frames) / self._add_up(weights).clamp(min=1e-3)

    def _add_up(self, frames: Tensor) -> Tensor:
        """Frames [B, window, T] one hop apart, summed, without the edges that the encoder padded: [B, 1, T * hop]."""
        size, count = frames.shape[1:]
        length = (count - 1) * self.hop + size
        summed = F.fold(frames, (1, length), (1, size), stride=(1, self.hop)).squeeze(2)
        edge = (size - self.hop) // 2
        return summed[:, :, edge : edge + count * self.hop]


class _FrameNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each frame, [B, W, T] -> the same shape."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class _Block(nn.Module):
    """ConvNeXt block: depthwise convolution, then an inverted bottleneck in each frame, added to its input."""

    def __init__(self, width: int, expansion: int, depth: int) -> None:
        super().__init__()
        self.mix = Convolution(width, width, _KERNEL, padding=_KERNEL // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, expansion * width)
        self.shrink = nn.Linear(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), 1 / max(depth, 1)))

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.norm(self.mix(x).transpose(1, 2))  # [B, T, W]
        return x + (self.scale * self.shrink(F.gelu(self.expand(mixed)))).transpose(1, 2)
