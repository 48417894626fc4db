"""A small network that tells sounds apart: convolutions over a log-mel spectrogram.

L is the number of audio samples, M of mel bands, T of frames.
"""

from __future__ import annotations

import itertools

from torch import nn
from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

_WINDOW_SECONDS, _HOP_SECONDS = 0.032, 0.01
_BANDS = 40
_RANGE_DB = 60.0
_WIDTHS, _FEATURES = (16, 32, 64), 128
_MAP = 4  # bands and frames


def build_feature_network(rate: int) -> nn.Sequential:
    """[B, 1, L] at `rate` Hz -> [B, 128]: a fixed spectrogram, trained convolutions, and a linear layer.

    Frames are 32 ms long and 10 ms apart; levels end 60 dB below each clip's loudest. Before the last layer a map of
    any length is averaged to 4 x 4, which keeps what was high or low, early or late.
    """
    layers: list[nn.Module] = [*_log_mel(rate), nn.BatchNorm2d(1)]
    for before, width in itertools.pairwise((1, *_WIDTHS)):
        convolution = nn.Conv2d(before, width, 3, stride=2, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
    layers += [nn.AdaptiveAvgPool2d(_MAP), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(_WIDTHS[-1] * _MAP**2, _FEATURES), nn.ReLU())


def _log_mel(rate: int) -> tuple[nn.Module, nn.Module]:
    """[B, 1, L] -> [B, 1, M, T] in dB. Silence is added around a clip, so that it may be shorter than a window."""
    window = round(_WINDOW_SECONDS * rate)
    bands = min(_BANDS, window // 4)
    spectrogram = MelSpectrogram(rate, window, hop_length=round(_HOP_SECONDS * rate), n_mels=bands, pad_mode="constant")
    return spectrogram, AmplitudeToDB(top_db=_RANGE_DB)
