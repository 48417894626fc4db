"""The networks over values that the image modality offers. Each is imported when it is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from anytime_core.value_networks import OfferedNetwork, ValueGrid
from anytime_image.value_networks.sections import PixelCNNPlusPlusConfig, PixelSNAILConfig

if TYPE_CHECKING:
    from anytime_image.value_networks.pixelcnn_plus_plus import PixelCNNPlusPlus
    from anytime_image.value_networks.pixelsnail import PixelSNAIL


def _pixelcnn_plus_plus(config: PixelCNNPlusPlusConfig, grid: ValueGrid) -> PixelCNNPlusPlus:
    from anytime_image.value_networks.pixelcnn_plus_plus import PixelCNNPlusPlus

    return PixelCNNPlusPlus(config, grid)


def _pixelsnail(config: PixelSNAILConfig, grid: ValueGrid) -> PixelSNAIL:
    from anytime_image.value_networks.pixelsnail import PixelSNAIL

    return PixelSNAIL(config, grid)


NETWORKS: Mapping[str, OfferedNetwork] = {
    "pixelcnn++": OfferedNetwork(
        PixelCNNPlusPlusConfig, _pixelcnn_plus_plus, "two shifted streams at several resolutions (PixelCNN++)"
    ),
    "pixelsnail": OfferedNetwork(
        PixelSNAILConfig, _pixelsnail, "convolutions and attention to all earlier pixels in turn (PixelSNAIL)"
    ),
}
