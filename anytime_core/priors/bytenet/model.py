"""ByteNet's decoder over codes (Kalchbrenner et al., "Neural Machine Translation in Linear Time", 2016).

n is a prefix length, and C the number of channels of the convolutions.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anytime_core.priors.bytenet.blocks import ByteNetBlock
from anytime_core.priors.bytenet.config import ByteNetConfig
from anytime_core.priors.bytenet.incremental import IncrementalByteNet
from anytime_core.priors.convolution.layers import kept_numbers
from anytime_core.priors.sequence.model import SequencePrior, initialise_ends
from anytime_core.quantizers.base import CodeSpec


class ByteNetPrior(SequencePrior):
    """See `SequencePrior`; the network is a stack of residual blocks of 2 C channels.

    Args:
        config: sizes and dropout.
        spec, code_vectors: see `Prior`.
    """

    blocks: Any
    kind = "bytenet"
    Config = ByteNetConfig

    def __init__(self, config: ByteNetConfig, spec: CodeSpec, code_vectors: Tensor | None = None) -> None:
        width = 2 * config.width
        super().__init__(config, spec, code_vectors, width=width)
        self.blocks = nn.ModuleList(ByteNetBlock(config, dilation) for dilation in config.dilations(spec.length))
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Linear(width, width)
        nn.init.normal_(self.mix.weight, std=(2 / width) ** 0.5)
        nn.init.zeros_(self.mix.bias)
        self.add_head()
        initialise_ends(self, 0.5)

    @property
    def kept_numbers(self) -> int:
        """See `Prior`: the rings."""
        return kept_numbers(self, self.code_length)

    def features(self, inputs: Tensor) -> Tensor:
        """See `SequencePrior`."""
        x = inputs
        for block in self.blocks:
            x = block(x)
        return F.relu(self.mix(F.relu(self.norm(x))))

    def incremental(self, dtype: torch.dtype) -> IncrementalByteNet:
        """See `SequencePrior`."""
        return IncrementalByteNet(self, dtype)
