"""The motion modality: what `anytime_core.modality.Modality` asks for, built from the other modules of this package.

They are imported where they are used, so that listing plugins or reading a config does not import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from anytime_core.modality import Datasets, OfferedExtractor, PreviewRow
from anytime_motion.config import MotionConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


class MotionModality:
    """Joint angles of a planar figure over time, as float32 [12, S] in [-1, 1]."""

    name: ClassVar[str] = "motion"
    description: ClassVar[str] = "joint angles of a planar figure"
    api_version: ClassVar[int] = 1
    suffixes: ClassVar[tuple[str, ...]] = (".npy", ".csv")
    Config: ClassVar[type[MotionConfig]] = MotionConfig

    def __init__(self, config: MotionConfig | None = None) -> None:
        self.config = config or MotionConfig()

    def sample_shape(self) -> tuple[int, int]:
        """(12, S)."""
        from anytime_motion.skeleton import CHANNELS

        return (len(CHANNELS), self.config.data.steps)

    def datasets(self) -> Datasets:
        """The performances that the config describes, generated."""
        from anytime_motion.datasets import load_datasets

        return load_datasets(self.config.data)

    def encoder(self) -> nn.Module:
        """[B, 12, S] -> latent map [B, C, S / 2^n]."""
        from anytime_motion.networks import build_encoder

        return build_encoder(self.config.network)

    def decoder(self, channels: int) -> nn.Module:
        """[B, channels, S / 2^n] -> [B, 12, S]."""
        from anytime_motion.networks import build_decoder

        return build_decoder(self.config.network, channels)

    def reconstruction_loss(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Squared errors of values and changes, [B]."""
        from anytime_motion.losses import motion_loss

        return motion_loss(x_hat, x)

    def metrics(self) -> Mapping[str, Callable[[Tensor, Tensor], Tensor]]:
        """MSE, distance of joints, error of their speeds, and explained share of the movement."""
        from anytime_motion.metrics import METRICS

        return METRICS

    def extractors(self) -> Mapping[str, OfferedExtractor]:
        """Kinematic statistics."""
        from anytime_motion.extractors import EXTRACTORS

        return EXTRACTORS

    def feature_network(self) -> nn.Module:
        """[B, 12, S] -> [B, 128]."""
        from anytime_motion.networks import build_feature_network

        return build_feature_network()

    def augment(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Each motion's left and right exchanged with probability 1/2 if the config says so, else `x` itself."""
        from anytime_motion.skeleton import mirror_some

        return mirror_some(x, generator) if self.config.data.mirror else x

    def read(self, path: Path) -> Tensor:
        """The first time steps of a motion file. Raises DataError naming the file."""
        from anytime_motion.files import read_motion

        return read_motion(path, self.config.data.steps)

    def write(self, x: Tensor, path: Path) -> None:
        """Write [12, S] in degrees and metres; values outside [-1, 1] are clipped."""
        from anytime_motion.files import write_motion

        write_motion(x, path)

    def preview(self, rows: Sequence[PreviewRow], path: Path) -> None:
        """Write moving figures."""
        from anytime_motion.preview import figure_sheet

        figure_sheet(rows, path)
