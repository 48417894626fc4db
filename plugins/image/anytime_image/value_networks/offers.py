"""The networks over values that the image modality offers. Each is imported when it is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from anytime_core.value_networks import OfferedNetwork, ValueGrid
from anytime_image.value_networks.sections import PixelRNNSection

if TYPE_CHECKING:
    from anytime_image.value_networks.pixelrnn import PixelRNN


def _pixelrnn(section: PixelRNNSection, grid: ValueGrid) -> PixelRNN:
    from anytime_image.value_networks.pixelrnn import PixelRNN

    return PixelRNN(section, grid)


NETWORKS: Mapping[str, OfferedNetwork] = {
    "pixelrnn": OfferedNetwork(PixelRNNSection, _pixelrnn, "LSTM layers that go through the picture row by row"),
}
