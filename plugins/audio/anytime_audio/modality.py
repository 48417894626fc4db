"""The audio modality: what `anytime_core.modality.Modality` asks for, built from this package's other rooms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from anytime_audio.datasets import DataConfig, load_datasets
from anytime_audio.datasets.files import Encoding, read_clips, write_sound
from anytime_audio.datasets.recording import Recording
from anytime_audio.extractors import offered_extractors
from anytime_audio.losses import LossConfig, build_loss
from anytime_audio.metrics import build_metrics
from anytime_audio.networks import NetworkConfig, SpectralConfig, build_decoder, build_encoder, build_feature_network
from anytime_audio.preview import spectrogram_sheet
from anytime_core.config import Section
from anytime_core.modality import Datasets, OfferedExtractor, PreviewRow


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
    def _something_is_minimised(self) -> AudioConfig:
        if not any(self.loss.model_dump().values()):
            raise ValueError("loss: every weight is 0, so nothing would be learned: set loss.log_mel=1")
        return self


class AudioModality:
    """Mono sounds of one rate and length, as float32 [1, L] in [-1, 1]."""

    name: ClassVar[str] = "audio"
    description: ClassVar[str] = "mono sounds of a fixed length"
    api_version: ClassVar[int] = 1
    suffixes: ClassVar[tuple[str, ...]] = (".wav", ".flac")
    Config: ClassVar[type[AudioConfig]] = AudioConfig

    def __init__(self, config: AudioConfig | None = None) -> None:
        self.config = config or AudioConfig()
        self._loss = build_loss(self.config.loss, self.config.data.rate)

    def sample_shape(self) -> tuple[int, int]:
        """(1, L)."""
        return (1, self.config.data.length)

    def datasets(self) -> Datasets:
        """The sounds that the config names. Raises DataError where they are missing, empty or unreadable."""
        return load_datasets(self.config.data)

    def encoder(self) -> nn.Module:
        """[B, 1, L] -> latent map [B, C, T]."""
        return build_encoder(self.config.network)

    def decoder(self, channels: int) -> nn.Module:
        """[B, channels, T] -> [B, 1, L]."""
        return build_decoder(self.config.network, channels)

    def reconstruction_loss(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """The configured weighted sum for each clip, [B]."""
        return self._loss(x_hat, x)

    def metrics(self) -> Mapping[str, Callable[[Tensor, Tensor], Tensor]]:
        """Log-mel and STFT distance, SNR and SI-SDR, and PESQ and STOI where the config asks for them."""
        data = self.config.data
        return build_metrics(data.rate, data.length, speech=self.config.speech_metrics)

    def extractors(self) -> Mapping[str, OfferedExtractor]:
        """Cepstral statistics, speaker embeddings and predicted opinion scores."""
        return offered_extractors(self.config.data.rate)

    def feature_network(self) -> nn.Module:
        """[B, 1, L] -> [B, 128]."""
        return build_feature_network(self.config.data.rate)

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Each clip moved by up to `data.shift` audio samples to either side, silence moving in; else `x` itself."""
        most = self.config.data.shift
        if not most:
            return x
        moves = torch.randint(2 * most + 1, (len(x), 1), generator=generator)
        taken = (moves + torch.arange(x.shape[-1])).to(x.device)  # [B, L]
        return F.pad(x, (most, most)).squeeze(1).gather(1, taken).unsqueeze(1)

    def read(self, path: Path) -> Tensor:
        """The first clip of a sound file, prepared as training clips are. Raises DataError naming the file."""
        return torch.from_numpy(read_clips(path, self.config.data.form)[:1])

    def open_file(self, path: Path) -> Recording:
        """A sound file of any length, as overlapping clips."""
        return Recording(path, self.config.data.form, self.config.encoding)

    def write(self, x: Tensor, path: Path) -> None:
        """Write [1, L] as a sound at the run's rate; values outside [-1, 1] are clipped, with a warning."""
        write_sound([x[0].detach().float().cpu().numpy()], path, self.config.data.rate, self.config.encoding)

    def preview(self, rows: Sequence[PreviewRow], path: Path) -> None:
        """Write waveforms over mel spectrograms."""
        spectrogram_sheet(rows, self.config.data.rate, path)
