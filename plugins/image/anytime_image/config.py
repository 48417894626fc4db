"""The sections of a config of images. Nothing here needs torch, so that mistakes in a config are found at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from anytime_core.config import Section
from anytime_core.display import counted

Name = Literal["digits", "mnist", "fashion-mnist", "cifar10", "celeba", "folder", "webdataset"]
Fit = Literal["crop", "pad", "stretch"]
Norm = Literal["batch", "group"]
Binarize = Literal["static", "dynamic", "threshold"]


class DataConfig(Section):
    """Which images, and in which form."""

    name: Name = Field("digits", description="digits, mnist, fashion-mnist, cifar10, celeba, folder or webdataset")
    root: Path | None = Field(None, description="folder of the data set; null: the usual places, see anytime doctor")
    download: bool = Field(False, description="download the data set if it is missing")
    size: int | None = Field(None, ge=4, le=4096, description="pixels of each side; null: the data set's own")
    fit: Fit = Field(
        "crop",
        description="how pictures become squares: crop takes the middle square, pad the whole picture with margins of "
        "background, stretch the whole picture as a square",
    )
    color: Literal["grey", "rgb"] | None = Field(None, description="grey or rgb; null: the data set's own")
    flip: bool = Field(False, description="mirror images left to right at random in training")
    shift: int = Field(0, ge=0, le=4096, description="move images by up to this many pixels at random in training")
    binarize: Binarize | None = Field(
        None,
        description="make every value black or white: static draws each once by its brightness, dynamic draws those of "
        "training images anew each time, threshold takes the nearer one; null: as it is",
    )
    binarize_seed: int = Field(
        0, ge=0, lt=2**63, description="binarize: what is drawn once follows from it and from an image's number alone"
    )
    background: str = Field(
        "white",
        description="what lies behind transparent pixels and in margins: white, black, grey, or #rrggbb in quotes",
    )
    white: float | None = Field(
        None, gt=0, description="value of white in greys of 16 and 32 bits; null: full scale of the bits the data needs"
    )
    float_white: float | None = Field(
        None, gt=0, description="value of white in floating-point greys; null: 1, or full scale of the bits they need"
    )
    frames: Literal["first", "all"] = Field(
        "first", description="folder, webdataset: of animations and many pages, take the first picture or all of them"
    )
    validation_share: float = Field(
        0.1, gt=0, lt=1, description="folder, webdataset: share of images kept for validation if none is named so"
    )

    @field_validator("background")
    @classmethod
    def _is_a_colour(cls, background: str) -> str:
        background_colour(background)
        return background


_GROUNDS = {"white": (255, 255, 255), "grey": (128, 128, 128), "black": (0, 0, 0)}


def background_colour(background: str) -> tuple[int, int, int]:
    """Red, green and blue, 0..255, of `data.background`. Raises ValueError if it is not such a colour."""
    if background in _GROUNDS:
        return _GROUNDS[background]
    if not re.fullmatch("#[0-9a-fA-F]{6}", background):
        raise ValueError("a ground is white, grey, black, or red, green and blue as '#rrggbb'")
    red, green, blue = bytes.fromhex(background[1:])
    return red, green, blue


_LARGEST_MAP = 2**28
_OWN_SIZE: dict[str, int] = {"digits": 8, "mnist": 28, "fashion-mnist": 28, "cifar10": 32}
_SIZE = 64
_OWN_COLOR = {"digits": "grey", "mnist": "grey", "fashion-mnist": "grey"}


def sample_shape(config: DataConfig) -> tuple[int, int, int]:
    """(C, H, W) of the images that `config` describes."""
    size = config.size or _OWN_SIZE.get(config.name, _SIZE)
    color = config.color or _OWN_COLOR.get(config.name, "rgb")
    return (1 if color == "grey" else 3, size, size)


def padded_side(size: int, halvings: int) -> int:
    """Side in pixels of images inside networks that halve it `halvings` times: the next multiple of 2^halvings."""
    return -(-size // 2**halvings) * 2**halvings


class NetworkConfig(Section):
    """The encoder and the decoder."""

    kind: Literal["convolutional", "residual"] = Field(
        "convolutional", description="the paper's convolutions, or residual blocks for 32x32 and up"
    )
    channels: int = Field(
        32, ge=1, le=2**16, description="channels C of the latent map; on the channel axis the number of codes"
    )
    widths: tuple[Annotated[int, Field(ge=1, le=2**14)], ...] = Field(
        (16, 32), min_length=1, max_length=8, description="channels after each halving of the resolution"
    )
    depth: int = Field(0, ge=0, le=64, description="further layers (residual: blocks) at each resolution")
    encoder_norm: Norm = Field("batch", description="normalisation in the encoder: batch or group")
    decoder_norm: Norm = Field("batch", description="normalisation in the decoder: batch or group")


class ImageConfig(Section):
    """The image modality's sections of a config."""

    data: DataConfig = Field(DataConfig(), description="which images")
    network: NetworkConfig = Field(NetworkConfig(), description="encoder and decoder")
    loss: Literal["mse", "l1"] = Field(
        "mse", description="reconstruction loss: mse, or l1, whose first codes give sharper images"
    )

    @model_validator(mode="after")
    def _sides_can_be_halved(self) -> ImageConfig:
        size, halvings = sample_shape(self.data)[1], len(self.network.widths)
        if size < 2**halvings:
            raise ValueError(
                f"data.size={size} cannot be halved {counted(halvings, 'times')}, once for each of network.widths="
                f"{list(self.network.widths)}: choose data.size={2**halvings} or more, or at most "
                f"{counted(size.bit_length() - 1, 'widths')}"
            )
        return self

    @model_validator(mode="after")
    def _an_image_fits_into_memory(self) -> ImageConfig:
        size, widths = sample_shape(self.data)[1], self.network.widths
        padded = padded_side(size, len(widths))
        maps = [width * (padded >> halvings) ** 2 for halvings, width in enumerate(widths, 1)]
        maps.append(self.network.channels * (padded >> len(widths)) ** 2)
        if max(maps) > _LARGEST_MAP:
            raise ValueError(
                f"data.size={size} with network.widths={list(widths)} and network.channels={self.network.channels} "
                f"makes maps of {max(maps):,} numbers for one image: choose less than {_LARGEST_MAP:,}"
            )
        return self
