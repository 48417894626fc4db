"""The blocks of ByteNet.

n is a prefix length, and C the number of channels of a convolution.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from anytime_core.priors.bytenet.config import ByteNetConfig
from anytime_core.priors.convolution.layers import CausalConvolution


class ByteNetBlock(nn.Module):
    """Down to C channels, a causal convolution, and up to 2 C channels, each after a normalisation of the channels.

    Args:
        config: sizes, dropout, and whether the convolution is a multiplicative unit.
        dilation: of the convolution.
    """

    def __init__(self, config: ByteNetConfig, dilation: int) -> None:
        super().__init__()
        width = config.width
        self.multiplicative = config.block == "multiplicative"
        self.before, self.inside, self.after = nn.LayerNorm(2 * width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.reduce = nn.Linear(2 * width, width)
        features = 4 * width if self.multiplicative else width
        self.convolution = CausalConvolution(width, features, config.kernel, dilation)
        self.dropout = nn.Dropout(config.dropout)
        self.expand = nn.Linear(width, 2 * width, bias=False)
        nn.init.normal_(self.reduce.weight, std=(2 * width) ** -0.5)
        nn.init.zeros_(self.reduce.bias)
        # The stream keeps its scale at any depth.
        nn.init.normal_(self.expand.weight, std=(width * config.layers) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        """[B, n, 2 C] -> the same shape."""
        hidden = F.relu(self.inside(self.reduce(F.relu(self.before(x)))))
        found = self.convolution(hidden)
        hidden = multiplicative_unit(hidden, found) if self.multiplicative else found
        return x + self.expand(self.dropout(F.relu(self.after(hidden))))


def multiplicative_unit(x: Tensor, found: Tensor) -> Tensor:
    """The multiplicative unit of Kalchbrenner et al., "Video Pixel Networks" (2016): g1 tanh(g2 x + g3 u).

    Args:
        x: [..., C], what is convolved.
        found: [..., 4 C], what the convolution finds: three gates before their sigmoid, and u before its tanh.

    Returns:
        [..., C].
    """
    channels = x.shape[-1]
    first, second, third = found[..., : 3 * channels].sigmoid().chunk(3, -1)
    return first * (second * x + third * found[..., 3 * channels :].tanh()).tanh()
