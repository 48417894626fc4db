"""The image modality: what `anytime_core.modality.Modality` asks for, built from the other modules of this package.

They need torch and are imported where they are used, so that listing the modality stays quick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from anytime_core.modality import OfferedExtractor, PreviewRow
from anytime_image.config import ImageConfig, padded_side, sample_shape

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from anytime_core.modality import Datasets
    from anytime_core.value_networks import OfferedNetwork
    from anytime_image.restoring import Picture

_STEP_MILLISECONDS, _LAST_STEP_MILLISECONDS = 500, 1500


class ImageModality:
    """Square images, grey or RGB, as float32 [C, H, W] in [-1, 1]."""

    name: ClassVar[str] = "image"
    description: ClassVar[str] = "square images, grey or RGB"
    api_version: ClassVar[int] = 1
    suffixes: ClassVar[tuple[str, ...]] = (".png", ".jpg", ".webp", ".bmp", ".tif")
    restores: ClassVar[Literal["size"]] = "size"
    Config: ClassVar[type[ImageConfig]] = ImageConfig

    def __init__(self, config: ImageConfig | None = None) -> None:
        self.config = config or ImageConfig()

    def sample_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return sample_shape(self.config.data)

    @property
    def _sides(self) -> tuple[int, int]:
        """The side of images in pixels, and the side that networks see."""
        size = self.sample_shape()[1]
        return size, padded_side(size, len(self.config.network.widths))

    def datasets(self) -> Datasets:
        """The images that the config names. Raises DataError if they are missing, empty or unreadable."""
        from anytime_image.datasets import load_datasets

        datasets = load_datasets(self.config.data)
        if datasets.settled is None:
            return datasets
        return replace(datasets, settled=self.config.model_copy(update={"data": datasets.settled}))

    def encoder(self) -> nn.Module:
        """[B, C, H, W] -> latent map [B, C', H', W'], H' = H / 2^n rounded up."""
        from anytime_image.networks import build_encoder
        from anytime_image.sides import padded_encoder

        return padded_encoder(build_encoder(self.config.network, self.sample_shape()[0]), *self._sides)

    def decoder(self, channels: int) -> nn.Module:
        """[B, channels, H', W'] -> [B, C, H, W]."""
        from anytime_image.networks import build_decoder
        from anytime_image.sides import cropped_decoder

        return cropped_decoder(build_decoder(self.config.network, channels, self.sample_shape()[0]), *self._sides)

    def reconstruction_loss(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """The configured loss of each image, [B]."""
        from anytime_image.losses import LOSSES

        return LOSSES[self.config.loss](x_hat, x)

    def metrics(self) -> Mapping[str, Callable[[Tensor, Tensor], Tensor]]:
        """MSE, PSNR and SSIM."""
        from anytime_image.metrics import METRICS

        return METRICS

    def extractors(self) -> Mapping[str, OfferedExtractor]:
        """Inception-v3 and EfficientNet-Lite0."""
        from anytime_image.extractors import EXTRACTORS

        return EXTRACTORS

    @staticmethod
    def value_networks() -> Mapping[str, OfferedNetwork]:
        """Networks over pixels, from PixelCNN on."""
        from anytime_image.value_networks.offers import NETWORKS

        return NETWORKS

    def feature_network(self) -> nn.Module:
        """[B, C, H, W] -> [B, 128]."""
        from anytime_image.networks import build_feature_network

        channels, size, _ = self.sample_shape()
        return build_feature_network(channels, size)

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Each image moved and mirrored at random as the config says; edges are repeated into the gap.

        With `data.binarize=dynamic` its values are then drawn, black or white.
        """
        import torch

        from anytime_core.transfer import to_device

        shift, (height, width) = self.config.data.shift, x.shape[-2:]
        if shift:
            moves = to_device(torch.randint(2 * shift + 1, (len(x), 2), generator=generator) - shift, x.device)
            rows, columns = (
                (torch.arange(size, device=x.device) + moves[:, axis, None]).clamp(0, size - 1)
                for axis, size in enumerate((height, width))
            )  # [B, H] and [B, W]
            taken = (rows.unsqueeze(2) * width + columns.unsqueeze(1)).flatten(1)  # [B, H * W]
            x = x.flatten(2).gather(2, taken.unsqueeze(1).expand(-1, x.shape[1], -1)).view_as(x)
        if self.config.data.flip:
            mirrored = to_device(torch.rand(len(x), generator=generator), x.device) < 0.5
            x = torch.where(mirrored[:, None, None, None], x.flip(-1), x)
        if self.config.data.binarize == "dynamic":
            from anytime_image.binarizing import drawn_anew

            x = drawn_anew(x, generator)
        return x

    def needs_views(self) -> str:
        """`data.binarize=dynamic`, if that is set: its training images are grey until `augment` draws them."""
        return "data.binarize=dynamic" if self.config.data.binarize == "dynamic" else ""

    def read(self, path: Path) -> Tensor:
        """An image file as a square of the configured size. Raises DataError naming the file."""
        from anytime_image.binarizing import binarization
        from anytime_image.datasets import rendering_of
        from anytime_image.restoring import read_sample

        data = self.config.data
        return read_sample(path, self.sample_shape(), rendering_of(data), binarization(data, "files"))

    def open_to_restore(self, path: Path) -> Picture:
        """An image file; its reconstruction is written at the same size. Raises DataError naming the file."""
        from anytime_image.binarizing import binarization
        from anytime_image.datasets import rendering_of
        from anytime_image.restoring import Picture

        data = self.config.data
        return Picture(path, self.sample_shape(), rendering_of(data), binarization(data, "files"))

    def write(self, x: Tensor, path: Path) -> None:
        """Write [C, H, W] as a picture; values outside [-1, 1] are clipped."""
        from anytime_image.pixels import to_uint8
        from anytime_image.writing import save

        save(to_uint8(x.detach().cpu()), path)

    def contents(self, x: Tensor, names: Sequence[str]) -> list[bytes]:
        """Pictures of [B, C, H, W] in memory; values outside [-1, 1] are clipped."""
        from anytime_image.pixels import to_uint8
        from anytime_image.writing import content

        return [content(image, name) for image, name in zip(to_uint8(x.detach().cpu()), names, strict=True)]

    def write_growth(self, steps: Sequence[Tensor], stem: Path) -> None:
        """Write `stem-strip.png`, the steps side by side, and `stem.gif`, one after another."""
        import torch

        from anytime_image.preview import animation_frames, contact_sheet

        contact_sheet([PreviewRow("", torch.stack(list(steps)))]).save(stem.with_name(f"{stem.name}-strip.png"))
        first, *others = animation_frames(steps)
        durations = [_STEP_MILLISECONDS] * len(others) + [_LAST_STEP_MILLISECONDS]
        first.save(stem.with_name(f"{stem.name}.gif"), save_all=True, append_images=others, duration=durations, loop=0)

    def preview(self, rows: Sequence[PreviewRow], path: Path) -> None:
        """Write a contact sheet."""
        from anytime_image.preview import contact_sheet

        contact_sheet(rows).save(path, format="PNG")
