"""Matrix products of a step, plain or with weights packed for the CPU.

I and O are the inputs and outputs of a product.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

_PACKED_FOR, _EXPANDING_PACKED_FOR = 64, 128
"""The batches for which weights are packed; the layouts serve other batches as well. Where there are many times as many
outputs as inputs, that for 64 is slow (docs/performance.md)."""
_EXPANDING = 4
"""Outputs of such a product over its inputs."""


class Product(Protocol):
    """An affine map of the rows of [B, I] to [B, O]."""

    def apply(self, x: Tensor) -> Tensor:
        """The map of `x`."""
        ...

    def gelu(self, x: Tensor) -> Tensor:
        """GELU of the map of `x`."""
        ...

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """`residual` plus the map of `x`; `residual` may be overwritten."""
        ...


def can_pack() -> bool:
    """Whether this build of torch has oneDNN."""
    return torch.backends.mkldnn.is_available()


class PlainProduct:
    """See `Product`. It works on every device and in every dtype."""

    def __init__(self, matrix: Tensor, bias: Tensor) -> None:
        self.matrix, self.bias = matrix, bias

    def apply(self, x: Tensor) -> Tensor:
        """[B, I] -> [B, O]."""
        return torch.addmm(self.bias, x, self.matrix)

    def gelu(self, x: Tensor) -> Tensor:
        """[B, I] -> [B, O]."""
        return F.gelu(torch.addmm(self.bias, x, self.matrix))

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """[B, O] and [B, I] -> [B, O], which is `residual`."""
        return residual.addmm_(x, self.matrix).add_(self.bias)


class PackedProduct:
    """See `Product`: oneDNN's product, with weights in its own layout, which other products must make in every call.

    These are the operators that torch's compiler uses for frozen float32 weights on the CPU.
    """

    def __init__(self, matrix: Tensor, bias: Tensor) -> None:
        inputs, outputs = matrix.shape
        rows = _EXPANDING_PACKED_FOR if outputs >= _EXPANDING * inputs else _PACKED_FOR
        self.packed = torch.ops.mkldnn._reorder_linear_weight(matrix.T.contiguous(), rows)
        self.bias = bias

    def apply(self, x: Tensor) -> Tensor:
        """[B, I] -> [B, O]."""
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")

    def gelu(self, x: Tensor) -> Tensor:
        """[B, I] -> [B, O]."""
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "gelu", [], "none")

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """[B, O] and [B, I] -> [B, O]."""
        return torch.ops.mkldnn._linear_pointwise.binary(x, residual, self.packed, self.bias, "add")


def product(matrix: Tensor, bias: Tensor) -> Product:
    """The fastest product of batches of any size: packed on the CPU in float32, plain elsewhere.

    With packed weights one row alone is slower by a third, but rounded less: a plain product of one row sums all its
    inputs one after another.
    """
    packs = matrix.device.type == "cpu" and matrix.dtype == torch.float32 and can_pack()
    return (PackedProduct if packs else PlainProduct)(matrix, bias)
