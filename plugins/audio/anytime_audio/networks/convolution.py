"""The 1-D convolution that all families of networks use."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Convolution(nn.Conv1d):
    """Conv1d by 2-D kernels with channels last: two to three times as fast on CPUs. T is the length in time."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, T] -> [B, channels, T'], as Conv1d does."""
        rows = x.unsqueeze(2).contiguous(memory_format=torch.channels_last)  # [B, channels, 1, T]
        (stride,), (dilation,), padding = self.stride, self.dilation, self.padding[0]
        assert isinstance(padding, int)
        convolved = F.conv2d(
            rows, self.weight.unsqueeze(2), self.bias, (1, stride), (0, padding), (1, dilation), self.groups
        )
        return convolved.squeeze(2)
