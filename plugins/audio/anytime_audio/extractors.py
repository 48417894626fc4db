"""Feature extractors of sounds: cepstral statistics, and networks trained on speech that are loaded when asked for.

L is the number of audio samples of a clip, L' that of the same clip at 16 kHz.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, partial

import numpy as np
import soxr
import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor

from anytime_core.extras import import_extra
from anytime_core.modality import Extractor, OfferedExtractor, WeightsSource

_CEPSTRAL_PARTS = 6
_SPEECH_RATE = 16_000  # Hz, which the networks were trained at
_SOFTEST = 2**-15  # below this peak 16-bit sound is silence, which has no loudness
_DNSMOS_SCORES = {
    "dnsmos overall": "ovrl_mos",
    "dnsmos signal": "sig_mos",
    "dnsmos background": "bak_mos",
    "dnsmos p808": "p808_mos",
}


def offered_extractors(rate: int) -> Mapping[str, OfferedExtractor]:
    """Extractors by name for clips at `rate` Hz."""
    return {
        "mel": OfferedExtractor(partial(_mel, rate), default=True),
        "speaker": OfferedExtractor(partial(_speaker, rate)),
        "dnsmos": OfferedExtractor(partial(_dnsmos, rate)),
    }


def cepstral_statistics(x: Tensor, rate: int) -> Tensor:
    """Statistics of 20 mel-frequency cepstral coefficients, by which words are told apart: [B, 1, L] -> [B, 180].

    For each coefficient: mean and deviation over the clip, deviation of its change from frame to frame, and means over
    six equal parts of the clip. Frames are 32 ms long and 10 ms apart; levels end 60 dB below the loudest.
    """
    window, hop = round(0.032 * rate), round(0.01 * rate)
    padded = F.pad(x, (0, max(0, max(window, _CEPSTRAL_PARTS * hop) - x.shape[-1])))
    # The channel axis stays: levels are relative to the loudest of each clip, not of the batch.
    coefficients = _cepstral_coefficients(rate, window, hop).to(x.device)(padded).squeeze(1)  # [B, 20, frames]
    parts = [part.mean(-1) for part in coefficients.tensor_split(_CEPSTRAL_PARTS, -1)]
    return torch.cat([coefficients.mean(-1), coefficients.std(-1), coefficients.diff(dim=-1).std(-1), *parts], 1)


@cache
def _cepstral_coefficients(rate: int, window: int, hop: int) -> torchaudio.transforms.MFCC:
    settings = {"n_fft": window, "hop_length": hop, "n_mels": 40}
    transform = torchaudio.transforms.MFCC(rate, n_mfcc=20, melkwargs=settings)
    transform.amplitude_to_DB.top_db = 60.0
    return transform


def _mel(rate: int, source: WeightsSource) -> Extractor:
    description = "statistics of 20 mel-frequency cepstral coefficients, 180 features, nothing trained"
    return Extractor(description, partial(cepstral_statistics, rate=rate))


def _speaker(rate: int, source: WeightsSource) -> Extractor:
    """Resemblyzer's embedding of a voice (Wan et al., "Generalized End-to-End Loss for Speaker Verification", 2018).

    [B, 256], each row of norm 1. Soft clips are raised to the loudness that the network knows; pauses are kept.
    """
    resemblyzer = import_extra("resemblyzer", "speaker", "extractor 'speaker'")
    encoder = resemblyzer.VoiceEncoder("cpu", verbose=False)
    loudness = resemblyzer.hparams.audio_norm_target_dBFS

    def embed(clip: np.ndarray) -> np.ndarray:
        if np.abs(clip).max() >= _SOFTEST:
            clip = resemblyzer.normalize_volume(clip, loudness, increase_only=True)
        return encoder.embed_utterance(clip)

    return Extractor("speaker embeddings of Resemblyzer, 256 features", _clip_by_clip(embed, rate))


def _dnsmos(rate: int, source: WeightsSource) -> Extractor:
    """Opinion scores from 1 to 5 that networks predict: [B, 4].

    They are overall, signal and background of P.835 (Reddy et al., "DNSMOS P.835", 2022), and P.808 (Reddy et al.,
    "DNSMOS", 2021). The package repeats clips shorter than nine seconds.
    """
    dnsmos = import_extra("speechmos.dnsmos", "dnsmos", "extractor 'dnsmos'")

    def score(clip: np.ndarray) -> np.ndarray:
        predicted = dnsmos.run(clip, _SPEECH_RATE)
        return np.array([predicted[key] for key in _DNSMOS_SCORES.values()])

    description = "opinion scores predicted by DNSMOS, from the package speechmos"
    return Extractor(description, _clip_by_clip(score, rate), tuple(_DNSMOS_SCORES))


def _clip_by_clip(extract: Callable[[np.ndarray], np.ndarray], rate: int) -> Callable[[Tensor], Tensor]:
    """Features [B, 1, L] -> [B, F] of clips at `rate` Hz, by a function [L'] -> [F] of one clip at 16 kHz."""

    def features(x: Tensor) -> Tensor:
        clips = x.detach().float().squeeze(1).cpu().numpy()
        rows = [extract(soxr.resample(clip, rate, _SPEECH_RATE).clip(-1, 1)) for clip in clips]
        return torch.from_numpy(np.stack(rows)).float().to(x.device)

    return features
