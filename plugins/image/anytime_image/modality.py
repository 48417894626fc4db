"""The image modality: what `anytime_core.modality.Modality` asks for, built from this package's other rooms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torchvision.transforms import v2

from anytime_core.config import Section
from anytime_core.modality import Datasets, OfferedExtractor, PreviewRow
from anytime_image.datasets import DataConfig, load_datasets, read_image, sample_shape, to_float, to_uint8
from anytime_image.extractors import EXTRACTORS
from anytime_image.losses import LOSSES
from anytime_image.metrics import METRICS
from anytime_image.networks import NetworkConfig, build_decoder, build_encoder, build_feature_network
from anytime_image.preview import animation_frames, contact_sheet

_STEP_MILLISECONDS, _LAST_STEP_MILLISECONDS = 500, 1500


class ImageConfig(Section):
    """The image modality's sections of a config."""

    data: DataConfig = Field(DataConfig(), description="which images")
    network: NetworkConfig = Field(NetworkConfig(), description="encoder and decoder")
    loss: Literal["mse", "l1"] = Field("mse", description="reconstruction loss: mse or l1")

    @model_validator(mode="after")
    def _sides_can_be_halved(self) -> ImageConfig:
        size, halvings = sample_shape(self.data)[1], len(self.network.widths)
        if size % 2**halvings:
            raise ValueError(
                f"data.size={size} cannot be halved {halvings} times, once for each of network.widths="
                f"{list(self.network.widths)}: choose a multiple of {2**halvings}"
            )
        return self


class ImageModality:
    """Square images, grey or RGB, as float32 [C, H, W] in [-1, 1]."""

    name: ClassVar[str] = "image"
    description: ClassVar[str] = "square images, grey or RGB"
    api_version: ClassVar[int] = 1
    suffixes: ClassVar[tuple[str, ...]] = (".png", ".jpg", ".webp", ".bmp", ".tif")
    Config: ClassVar[type[ImageConfig]] = ImageConfig

    def __init__(self, config: ImageConfig | None = None) -> None:
        self.config = config or ImageConfig()

    def sample_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return sample_shape(self.config.data)

    def datasets(self) -> Datasets:
        """The images that the config names. Raises DataError where they are missing, empty or unreadable."""
        return load_datasets(self.config.data)

    def encoder(self) -> nn.Module:
        """[B, C, H, W] -> latent map."""
        return build_encoder(self.config.network, self.sample_shape()[0])

    def decoder(self, channels: int) -> nn.Module:
        """[B, channels, H / 2^n, W / 2^n] -> [B, C, H, W]."""
        return build_decoder(self.config.network, channels, self.sample_shape()[0])

    def reconstruction_loss(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """The configured loss of each image, [B]."""
        return LOSSES[self.config.loss](x_hat, x)

    def metrics(self) -> Mapping[str, Callable[[Tensor, Tensor], Tensor]]:
        """MSE, PSNR and SSIM."""
        return METRICS

    def extractors(self) -> Mapping[str, OfferedExtractor]:
        """Inception-v3 and EfficientNet-Lite0."""
        return EXTRACTORS

    def feature_network(self) -> nn.Module:
        """[B, C, H, W] -> [B, 128]."""
        channels, size, _ = self.sample_shape()
        return build_feature_network(channels, size)

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Each image mirrored with probability 1/2 where the config says so, else `x` itself."""
        if not self.config.data.flip:
            return x
        mirrored = torch.rand(len(x), generator=generator).to(x.device) < 0.5
        return torch.where(mirrored[:, None, None, None], v2.functional.horizontal_flip(x), x)

    def read(self, path: Path) -> Tensor:
        """An image file, resized and cropped to the configured size. Raises DataError naming the file."""
        return to_float(read_image(path, self.sample_shape()))

    def write(self, x: Tensor, path: Path) -> None:
        """Write [C, H, W] as a picture; values outside [-1, 1] are clipped."""
        v2.functional.to_pil_image(to_uint8(x.detach().cpu())).save(path)

    def write_growth(self, steps: Sequence[Tensor], stem: Path) -> None:
        """Write `stem-strip.png`, the steps side by side, and `stem.gif`, one after another."""
        contact_sheet([PreviewRow("", torch.stack(list(steps)))]).save(stem.with_name(f"{stem.name}-strip.png"))
        first, *others = animation_frames(steps)
        durations = [_STEP_MILLISECONDS] * len(others) + [_LAST_STEP_MILLISECONDS]
        first.save(stem.with_name(f"{stem.name}.gif"), save_all=True, append_images=others, duration=durations, loop=0)

    def preview(self, rows: Sequence[PreviewRow], path: Path) -> None:
        """Write a contact sheet."""
        contact_sheet(rows).save(path, format="PNG")
