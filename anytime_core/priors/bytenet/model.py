"""ByteNet's decoder over codes (Kalchbrenner et al., "Neural Machine Translation in Linear Time", 2016).

n is a prefix length, and C the number of channels of the convolutions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from anytime_core.priors.bytenet.blocks import ByteNetBlock
from anytime_core.priors.bytenet.config import ByteNetConfig
from anytime_core.priors.bytenet.incremental import IncrementalByteNet
from anytime_core.priors.convolution.model import ConvolutionPrior
from anytime_core.quantizers.base import CodeSpec


class ByteNetPrior(ConvolutionPrior):
    """See `SequencePrior`; the network is a stack of residual blocks of 2 C channels.

    Args:
        config: sizes and dropout.
        spec, code_vectors: see `Prior`.
    """

    kind = "bytenet"
    Config = ByteNetConfig

    def __init__(self, config: ByteNetConfig, spec: CodeSpec, code_vectors: Tensor | None = None) -> None:
        width = 2 * config.width
        super().__init__(config, spec, code_vectors, width=width)
        self.blocks = nn.ModuleList(ByteNetBlock(config, dilation) for dilation in config.dilations(spec.length))
        self.norm = nn.LayerNorm(width)
        self.add_head()

    def stream(self, inputs: Tensor) -> Tensor:
        """See `ConvolutionPrior`."""
        x = inputs
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def incremental(self, dtype: torch.dtype) -> IncrementalByteNet:
        """See `IncrementalPrior`."""
        return IncrementalByteNet(self, dtype)
