"""The networks over values that the image modality offers. Each is imported when it is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from anytime_core.value_networks import OfferedNetwork, ValueGrid
from anytime_image.value_networks import sections

if TYPE_CHECKING:
    from torch import nn


def _pixelcnn(section: sections.PixelCNNConfig, grid: ValueGrid) -> nn.Module:
    from anytime_image.value_networks.pixelcnn import PixelCNN

    return PixelCNN(section, grid)


def _gated_pixelcnn(section: sections.GatedPixelCNNConfig, grid: ValueGrid) -> nn.Module:
    from anytime_image.value_networks.gated import GatedPixelCNN

    return GatedPixelCNN(section, grid)


def _pixelrnn(section: sections.PixelRNNConfig, grid: ValueGrid) -> nn.Module:
    from anytime_image.value_networks.pixelrnn import PixelRNN

    return PixelRNN(section, grid)


def _spatial_lstm(section: sections.SpatialLSTMConfig, grid: ValueGrid) -> nn.Module:
    from anytime_image.value_networks.spatial_lstm import SpatialLSTM

    return SpatialLSTM(section, grid)


def _pixelcnn_plus_plus(section: sections.PixelCNNPlusPlusConfig, grid: ValueGrid) -> nn.Module:
    from anytime_image.value_networks.pixelcnn_plus_plus import PixelCNNPlusPlus

    return PixelCNNPlusPlus(section, grid)


def _pixelsnail(section: sections.PixelSNAILConfig, grid: ValueGrid) -> nn.Module:
    from anytime_image.value_networks.pixelsnail import PixelSNAIL

    return PixelSNAIL(section, grid)


NETWORKS: Mapping[str, OfferedNetwork] = {
    "pixelcnn": OfferedNetwork(sections.PixelCNNConfig, _pixelcnn, "masked convolutions in residual blocks"),
    "gated-pixelcnn": OfferedNetwork(sections.GatedPixelCNNConfig, _gated_pixelcnn, "two stacks of gated convolutions"),
    "pixelcnn++": OfferedNetwork(
        sections.PixelCNNPlusPlusConfig,
        _pixelcnn_plus_plus,
        "shifted streams of gated convolutions at several resolutions",
    ),
    "pixelsnail": OfferedNetwork(
        sections.PixelSNAILConfig, _pixelsnail, "gated convolutions and attention to all earlier cells, in turn"
    ),
    "pixelrnn": OfferedNetwork(sections.PixelRNNConfig, _pixelrnn, "LSTM layers that go through the picture"),
    "spatial-lstm": OfferedNetwork(sections.SpatialLSTMConfig, _spatial_lstm, "LSTM units on a grid of cells"),
}
