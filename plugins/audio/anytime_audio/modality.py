"""The audio modality: what `anytime_core.modality.Modality` asks for, built from the other modules of this package.

They need torch and are imported where they are used, so that listing the modality stays quick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from anytime_audio.config import AudioConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from anytime_audio.datasets.files import ClipForm
    from anytime_audio.datasets.recording import Recording
    from anytime_core.modality import Datasets, OfferedExtractor, PreviewRow


class AudioModality:
    """Mono sounds of one rate and length, as float32 [1, L] in [-1, 1]."""

    name: ClassVar[str] = "audio"
    description: ClassVar[str] = "mono sounds of a fixed length"
    api_version: ClassVar[int] = 1
    suffixes: ClassVar[tuple[str, ...]] = (".wav", ".flac")
    Config: ClassVar[type[AudioConfig]] = AudioConfig
    restores: ClassVar[Literal["rate"]] = "rate"
    file_tolerance: ClassVar[float] = 0.05  # `read` brings a file's peak to `data.peak`, as training clips have it

    def __init__(self, config: AudioConfig | None = None) -> None:
        self.config = config or AudioConfig()

    @cached_property
    def _loss(self) -> Callable[[Tensor, Tensor], Tensor]:
        from anytime_audio.losses import build_loss

        return build_loss(self.config.loss, self.config.data.rate)

    @property
    def _form(self) -> ClipForm:
        from anytime_audio.datasets import clip_form

        return clip_form(self.config.data)

    def sample_shape(self) -> tuple[int, int]:
        """(1, L)."""
        return (1, self.config.data.length)

    def datasets(self) -> Datasets:
        """The sounds that the config names. Raises DataError if they are missing, empty or unreadable."""
        from anytime_audio.datasets import load_datasets

        return load_datasets(self.config.data)

    def encoder(self) -> nn.Module:
        """[B, 1, L] -> latent map [B, C, T]."""
        from anytime_audio.networks import build_encoder

        return build_encoder(self.config.network)

    def decoder(self, channels: int) -> nn.Module:
        """[B, channels, T] -> [B, 1, L]."""
        from anytime_audio.networks import build_decoder

        return build_decoder(self.config.network, channels)

    def reconstruction_loss(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """The configured weighted sum for each clip, [B]."""
        return self._loss(x_hat, x)

    def metrics(self) -> Mapping[str, Callable[[Tensor, Tensor], Tensor]]:
        """Log-mel and STFT distance, SNR and SI-SDR, and PESQ and STOI if the config asks for them."""
        from anytime_audio.metrics import build_metrics

        data = self.config.data
        return build_metrics(data.rate, data.length, speech=self.config.speech_metrics)

    def extractors(self) -> Mapping[str, OfferedExtractor]:
        """Cepstral statistics, speaker embeddings and predicted opinion scores."""
        from anytime_audio.extractors import offered_extractors

        return offered_extractors(self.config.data.rate)

    def feature_network(self) -> nn.Module:
        """[B, 1, L] -> [B, 128]."""
        from anytime_audio.networks.features import build_feature_network

        return build_feature_network(self.config.data.rate)

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Each clip moved by up to `data.shift` audio samples to either side, with silence moving in; or `x` itself."""
        most = self.config.data.shift
        if not most:
            return x
        import torch
        import torch.nn.functional as F

        from anytime_core.transfer import to_device

        moves = to_device(torch.randint(2 * most + 1, (len(x), 1), generator=generator), x.device)
        taken = moves + torch.arange(x.shape[-1], device=x.device)  # [B, L]
        return F.pad(x, (most, most)).squeeze(1).gather(1, taken).unsqueeze(1)

    def read(self, path: Path) -> Tensor:
        """The first clip of a sound file, prepared as training clips are. Raises DataError naming the file."""
        import torch

        from anytime_audio.datasets.files import prepare
        from anytime_audio.datasets.reading import warning_of

        return torch.from_numpy(next(prepare(path, self._form, warning_of(path)).clips())[:1])

    def open_file(self, path: Path) -> Recording:
        """A sound file of any length, as overlapping clips."""
        from anytime_audio.datasets.recording import Recording

        return Recording(path, self._form, self.config.encoding)

    def open_to_restore(self, path: Path) -> Recording:
        """The same, written at the rate of the file; frequencies that the run's rate cannot hold stay lost."""
        from anytime_audio.datasets.recording import Recording

        return Recording(path, self._form, self.config.encoding, keep_rate=True)

    def write(self, x: Tensor, path: Path) -> None:
        """Write [1, L] as a sound at the run's rate; values outside [-1, 1] are clipped, with a warning."""
        from anytime_audio.datasets.files import write_sound

        write_sound([x[0].detach().float().cpu().numpy()], path, self.config.data.rate, self.config.encoding)

    def contents(self, x: Tensor, names: Sequence[str]) -> list[bytes]:
        """Sounds of [B, 1, L] in memory, as `write` writes them."""
        from anytime_audio.datasets.files import sound_content

        sounds = x[:, 0].detach().float().cpu().numpy()
        data = self.config.data
        return [
            sound_content(sound, name, data.rate, self.config.encoding)
            for sound, name in zip(sounds, names, strict=True)
        ]

    def preview(self, rows: Sequence[PreviewRow], path: Path) -> None:
        """Write waveforms over mel spectrograms."""
        from anytime_audio.preview import spectrogram_sheet

        spectrogram_sheet(rows, self.config.data.rate, path)
