"""What convolutional priors share: a stream of channels that blocks add to, and what is after it.

n is a prefix length, W the width of inputs, and S the number of channels that the blocks leave.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from anytime_core.priors.convolution.layers import kept_numbers
from anytime_core.priors.sequence.model import IncrementalPrior, initialise_ends


class ConvolutionPrior(IncrementalPrior):
    """See `SequencePrior`; blocks with convolutions make a stream, which goes through relu, a 1x1 layer and relu."""

    blocks: Any

    def add_head(self, outputs: int | None = None) -> None:
        """Add the layers after the stream, and initialise all that is around the blocks."""
        channels = self.feature_size
        self.mix = nn.Linear(channels, channels)
        nn.init.normal_(self.mix.weight, std=(2 / channels) ** 0.5)
        nn.init.zeros_(self.mix.bias)
        super().add_head(outputs)
        initialise_ends(self, 0.5)

    @property
    def kept_numbers(self) -> int:
        """See `Prior`: the rings."""
        return kept_numbers(self, self.code_length)

    def features(self, inputs: Tensor) -> Tensor:
        """See `SequencePrior`."""
        return F.relu(self.mix(F.relu(self.stream(inputs))))

    @abstractmethod
    def stream(self, inputs: Tensor) -> Tensor:
        """Inputs [B, n, W] -> what the blocks make of them, [B, n, S]."""
