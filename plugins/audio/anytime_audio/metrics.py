"""Measures of sound quality, each (x_hat, x) [B, 1, L] -> [B]."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from anytime_audio.losses import Measure, log_mel_distance, mean_squared_error, stft_distance
from anytime_core.errors import ConfigError

_CAP = 100.0
_PESQ_MODES = {8000: "nb", 16000: "wb"}
_LOWEST_PESQ = 1.0
_SHORTEST_SPEECH = 0.5  # seconds; shorter clips give STOI no segment to compare


def signal_to_noise_ratio(x_hat: Tensor, x: Tensor) -> Tensor:
    """SNR in dB, within +-100; it is only informative for models trained on the waveform's error."""
    signal = x.square().flatten(1).mean(1)
    ratio = signal / mean_squared_error(x_hat, x).clamp(min=1e-20)
    return (10 * ratio.clamp(min=1e-20).log10()).clamp(-_CAP, _CAP)


def scale_invariant_ratio(x_hat: Tensor, x: Tensor) -> Tensor:
    """SI-SDR in dB (Le Roux et al., "SDR - half-baked or well done?", 2019), within +-100."""
    tiny = torch.finfo(x.dtype).eps
    estimated, true = x_hat.squeeze(1), x.squeeze(1)
    factor = ((estimated * true).sum(1, keepdim=True) + tiny) / (true.square().sum(1, keepdim=True) + tiny)
    noise = factor * true - estimated
    ratio = 10 * (((factor * true).square().sum(1) + tiny) / (noise.square().sum(1) + tiny)).log10()
    silent = estimated.abs().amax(1) == 0  # the formula gives these 0 dB
    return ratio.masked_fill(silent, -_CAP).clamp(-_CAP, _CAP)


def build_metrics(rate: int, length: int, *, speech: bool) -> Mapping[str, Measure]:
    """Metrics by name for clips of `length` audio samples at `rate` Hz; `speech` adds PESQ and STOI.

    Raises:
        ConfigError: PESQ and STOI need the extra `speech`, another rate or longer clips.
    """
    metrics: dict[str, Measure] = {
        "log_mel": partial(log_mel_distance, rate=rate),
        "stft": partial(stft_distance, rate=rate),
        "snr": signal_to_noise_ratio,
        "si_sdr": scale_invariant_ratio,
    }
    return {**metrics, **_speech_metrics(rate, length)} if speech else metrics


def _speech_metrics(rate: int, length: int) -> dict[str, Measure]:
    """PESQ (ITU-T P.862) and STOI (Taal et al. 2011) through torchmetrics."""
    missing = [name for name in ("pesq", "pystoi") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"speech_metrics=true needs {' and '.join(missing)}: pip install 'anytime-toolkit[speech]'")
    if rate not in _PESQ_MODES:
        raise ConfigError(f"speech_metrics=true needs data.rate=8000 or 16000, found {rate}")
    if length < _SHORTEST_SPEECH * rate:
        raise ConfigError(
            f"speech_metrics=true needs clips of {_SHORTEST_SPEECH} seconds: data.length={length} is less than "
            f"{round(_SHORTEST_SPEECH * rate)}"
        )
    from pesq import PesqError
    from torchmetrics.functional.audio.pesq import perceptual_evaluation_speech_quality
    from torchmetrics.functional.audio.stoi import short_time_objective_intelligibility

    def pesq(x_hat: Tensor, x: Tensor) -> Tensor:
        scores = []
        for estimated, true in zip(x_hat, x, strict=True):
            try:
                scores.append(perceptual_evaluation_speech_quality(estimated, true, rate, _PESQ_MODES[rate]))
            except (PesqError, ValueError):  # it holds nothing that could be speech
                scores.append(torch.full((1,), _LOWEST_PESQ))
        return torch.cat(scores).float()

    def stoi(x_hat: Tensor, x: Tensor) -> Tensor:
        return short_time_objective_intelligibility(x_hat.squeeze(1), x.squeeze(1), rate).float()

    return {"pesq": pesq, "stoi": stoi}
