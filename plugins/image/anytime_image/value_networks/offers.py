"""The networks over values that the image modality offers. Each is imported when it is built."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from anytime_core.value_networks import NetworkSection, OfferedNetwork, ValueGrid
from anytime_image.value_networks import sections


def _offered(section: type[NetworkSection], module: str, name: str, description: str) -> OfferedNetwork:
    """The network that class `name` of a module beside this one is."""

    def build(config: Any, grid: ValueGrid) -> Any:
        return getattr(import_module(f"anytime_image.value_networks.{module}"), name)(config, grid)

    return OfferedNetwork(section, build, description)


NETWORKS: Mapping[str, OfferedNetwork] = {
    "pixelcnn": _offered(sections.PixelCNNConfig, "pixelcnn", "PixelCNN", "masked convolutions in residual blocks"),
    "gated-pixelcnn": _offered(
        sections.GatedPixelCNNConfig, "gated", "GatedPixelCNN", "two stacks of gated convolutions"
    ),
    "pixelcnn++": _offered(
        sections.PixelCNNPlusPlusConfig,
        "pixelcnn_plus_plus",
        "PixelCNNPlusPlus",
        "shifted streams of gated convolutions at several resolutions",
    ),
    "pixelsnail": _offered(
        sections.PixelSNAILConfig,
        "pixelsnail",
        "PixelSNAIL",
        "gated convolutions and attention to all earlier cells, in turn",
    ),
    "pixelrnn": _offered(sections.PixelRNNConfig, "pixelrnn", "PixelRNN", "LSTM layers that go through the picture"),
    "spatial-lstm": _offered(
        sections.SpatialLSTMConfig, "spatial_lstm", "SpatialLSTM", "LSTM units on a grid of cells"
    ),
}
