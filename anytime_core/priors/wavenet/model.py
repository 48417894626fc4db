"""WaveNet over codes (van den Oord et al., "WaveNet: A Generative Model for Raw Audio", 2016).

n is a prefix length, W the number of residual channels, and S that of skip channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anytime_core.priors.convolution.layers import CausalConvolution
from anytime_core.priors.convolution.model import ConvolutionPrior
from anytime_core.priors.wavenet.config import WaveNetConfig
from anytime_core.priors.wavenet.incremental import IncrementalWaveNet
from anytime_core.quantizers.base import CodeSpec


class WaveNetPrior(ConvolutionPrior):
    """See `SequencePrior`; the network is a stack of gated convolutions, each of which adds to the features.

    Args:
        config: sizes and dropout.
        spec, code_vectors: see `Prior`.
    """

    kind = "wavenet"
    Config = WaveNetConfig

    def __init__(self, config: WaveNetConfig, spec: CodeSpec, code_vectors: Tensor | None = None) -> None:
        super().__init__(config, spec, code_vectors, width=config.width, features=config.skips)
        dilations = config.dilations(spec.length)
        self.blocks = nn.ModuleList(WaveNetBlock(config, dilation) for dilation in dilations[:-1])
        self.blocks.append(WaveNetBlock(config, dilations[-1], last=True))
        self.add_head()

    def stream(self, inputs: Tensor) -> Tensor:
        """See `ConvolutionPrior`: the skip channels."""
        stream = F.pad(inputs, (0, self.feature_size))
        for block in self.blocks:
            stream = block(stream)
        return stream

    def incremental(self, dtype: torch.dtype) -> IncrementalWaveNet:
        """See `IncrementalPrior`."""
        return IncrementalWaveNet(self, dtype)


class WaveNetBlock(nn.Module):
    """A gated convolution, tanh(filter) sigmoid(gate), that is added to the residual channels and to the skip channels.

    Both lie side by side in one stream [B, n, W + S], so that one product gives what is added to it.

    Args:
        config: sizes and dropout.
        dilation: of the convolution.
        last: whether it is the last block, which nothing reads the residual channels of.
    """

    def __init__(self, config: WaveNetConfig, dilation: int, *, last: bool = False) -> None:
        super().__init__()
        self.width, self.dropout = config.width, nn.Dropout(config.dropout)
        self.gates = CausalConvolution(config.width, 2 * config.width, config.kernel, dilation)
        added = config.skips if last else config.width + config.skips
        self.outputs = nn.Linear(config.width, added, bias=False)
        # The stream keeps its scale at any depth.
        nn.init.normal_(self.outputs.weight, std=(config.width * config.layers) ** -0.5)

    def forward(self, stream: Tensor) -> Tensor:
        """[B, n, W + S] -> the same, or [B, n, S] from the last block."""
        filters, gates = self.gates(self.dropout(stream[..., : self.width])).chunk(2, -1)
        return stream[..., -self.outputs.out_features :] + self.outputs(filters.tanh() * gates.sigmoid())
