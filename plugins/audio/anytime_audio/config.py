"""The sections of a config of sounds. Nothing here needs torch, so that mistakes in a config are found at once.

Letters: C channels of the latent map, L audio samples of a clip, T frames of the latent map.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, Tag, field_validator, model_validator

from anytime_core.config import Section, by_kind

Name = Literal["plucks", "folder", "webdataset", "fsdd", "vctk", "speechcommands", "ljspeech", "librispeech", "yesno"]
Encoding = Literal["16bit", "24bit", "float"]
Channels = Literal["mean", "left", "loudest"]

_LARGEST_MAP = 2**28


class DataConfig(Section):
    """Which sounds, and in which form."""

    name: Name = Field(
        "plucks", description="plucks, folder, webdataset, fsdd, vctk, speechcommands, ljspeech, librispeech, yesno"
    )
    root: Path | None = Field(None, description="folder of the data set; null: the usual places, see anytime doctor")
    download: bool = Field(False, description="download the data set if it is missing")
    rate: int = Field(8000, ge=1000, le=192_000, description="audio samples a second; files are resampled to it")
    length: int = Field(2048, ge=64, le=2**22, description="audio samples of a clip")
    cut: Literal["start", "all"] = Field(
        "start", description="of files longer than a clip: start takes their beginning, all cuts them into clips"
    )
    channels: Channels = Field(
        "mean",
        description="of files with several: their mean, or the loudest if they cancel each other out; left; loudest",
    )
    top_db: float | None = Field(
        30.0, gt=0, description="trim both ends where they are this many dB below the peak; null: trim nothing"
    )
    peak: float = Field(0.95, gt=0, le=1, description="largest absolute value of a file after normalisation")
    shift: int = Field(0, ge=0, description="audio samples by which training clips are moved at random, at most")
    validation_share: float = Field(
        0.1, gt=0, lt=1, description="share of files kept for validation if the data set has no split"
    )
    cache: Path | None = Field(None, description="folder of prepared clips; null: ~/.cache/anytime/clips")


class SpectralConfig(Section):
    """ConvNeXt blocks over STFT frames, and an inverse-STFT head."""

    kind: Literal["spectral"] = Field("spectral", description="frames of the short-time Fourier transform")
    channels: int = Field(
        128, ge=1, le=2**16, description="channels C of the latent map; on the channel axis the number of codes"
    )
    width: int = Field(192, ge=1, le=2**14, description="channels of the blocks")
    depth: int = Field(4, ge=0, le=64, description="blocks in the encoder, and as many in the decoder")
    hop: int = Field(64, ge=2, le=2**13, description="audio samples from one frame to the next")
    window: int = Field(256, ge=4, le=2**15, description="audio samples of a frame, even and more than hop")
    expansion: int = Field(3, ge=1, le=16, description="width inside a block, in multiples of width")

    @model_validator(mode="after")
    def _frames_overlap(self) -> SpectralConfig:
        if self.window % 2 or self.hop % 2 or self.window <= self.hop:
            raise ValueError(
                f"network.window={self.window} and network.hop={self.hop} must be even, the window longer than the hop"
            )
        return self

    @property
    def samples_per_frame(self) -> int:
        """L / T."""
        return self.hop

    def largest_map(self, length: int) -> int:
        """Numbers of the largest map between two layers for a clip of `length` audio samples."""
        widest = max(3 * (self.window // 2 + 1), self.width * self.expansion, 2 * self.channels)
        return length // self.hop * widest


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

    def largest_map(self, length: int) -> int:
        """Numbers of the largest map between two layers for a clip of `length` audio samples."""
        return _largest_map(length, self.widths, (self.stride,) * len(self.widths), self.channels)


class ResidualConfig(Section):
    """Dilated residual units between strided convolutions."""

    kind: Literal["residual"] = Field("residual", description="dilated residual units, as in neural codecs")
    channels: int = Field(
        128, ge=1, le=2**16, description="channels C of the latent map; on the channel axis the number of codes"
    )
    widths: tuple[Annotated[int, Field(ge=1, le=2**14)], ...] = Field(
        (32, 64, 128), min_length=1, max_length=8, description="channels after each stride"
    )
    strides: tuple[Annotated[int, Field(ge=2, le=16)], ...] = Field(
        (4, 4, 4), min_length=1, max_length=8, description="one for each of widths"
    )
    depth: int = Field(3, ge=0, le=16, description="residual units at each rate, dilated 1, 3, 9, 1, ...")
    activation: Literal["snake", "elu"] = Field("snake", description="snake, which is periodic, or elu")

    @model_validator(mode="after")
    def _a_stride_for_each_width(self) -> ResidualConfig:
        if len(self.strides) != len(self.widths):
            raise ValueError(
                f"network.strides={list(self.strides)} and network.widths={list(self.widths)} must be of equal length"
            )
        return self

    @property
    def samples_per_frame(self) -> int:
        """L / T."""
        return math.prod(self.strides)

    def largest_map(self, length: int) -> int:
        """Numbers of the largest map between two layers for a clip of `length` audio samples."""
        return _largest_map(length, self.widths, self.strides, self.channels)


def _largest_map(length: int, widths: tuple[int, ...], strides: tuple[int, ...], channels: int) -> int:
    """See `WaveConfig.largest_map`; at each rate, layers have the widths before and after it."""
    largest = length * widths[0]
    for stride, width in zip(strides, (*widths[1:], 2 * channels), strict=True):
        length //= stride
        largest = max(largest, length * width)
    return largest


NetworkConfig = Annotated[
    Annotated[SpectralConfig, Tag("spectral")]
    | Annotated[WaveConfig, Tag("wave")]
    | Annotated[ResidualConfig, Tag("residual")],
    by_kind("spectral"),
]


class LossConfig(Section):
    """Weights of the terms whose sum is minimised; 0 leaves a term out."""

    log_mel: float = Field(1.0, ge=0, description="weight of the multi-resolution log-mel distance")
    stft: float = Field(0.0, ge=0, description="weight of the multi-resolution STFT distance")
    mse: float = Field(1.0, ge=0, description="weight of the mean squared error of the waveform")
    l1: float = Field(0.0, ge=0, description="weight of the mean absolute error of the waveform")


class AudioConfig(Section):
    """The audio modality's sections of a config."""

    data: DataConfig = Field(DataConfig(), description="which sounds")
    network: NetworkConfig = Field(SpectralConfig(), description="encoder and decoder: spectral, wave or residual")
    loss: LossConfig = Field(LossConfig(), description="reconstruction loss")
    speech_metrics: bool = Field(False, description="validate with PESQ and STOI too; needs the extra 'speech'")
    encoding: Encoding = Field("16bit", description="of written files: 16bit, 24bit or float")

    @model_validator(mode="after")
    def _clips_are_whole_frames(self) -> AudioConfig:
        if self.data.length % self.network.samples_per_frame:
            raise ValueError(
                f"data.length={self.data.length} is not a multiple of the {self.network.samples_per_frame} audio "
                "samples that the network makes a frame of"
            )
        return self

    @model_validator(mode="after")
    def _a_clip_fits_into_memory(self) -> AudioConfig:
        largest = self.network.largest_map(self.data.length)
        if largest > _LARGEST_MAP:
            raise ValueError(
                f"data.length={self.data.length} with this network makes maps of {largest:,} numbers for one clip: "
                f"choose less than {_LARGEST_MAP:,}, by a shorter clip or smaller widths"
            )
        return self

    @model_validator(mode="after")
    def _something_is_minimised(self) -> AudioConfig:
        if not any(self.loss.model_dump().values()):
            raise ValueError("loss: every weight is 0, so nothing would be learned: set loss.log_mel=1")
        return self
