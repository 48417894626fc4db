"""The work of a step on a GPU, by kernels that fuse what follows one another.

The smaller the batch, the more a step is starts of kernels and the less it is traffic. A layer is 5 kernels in small
batches: normalise and multiply, attend, multiply and add, normalise, multiply and GELU, multiply and add. Large batches
multiply by torch, whose library does that best, and take 8.

W is the width, I and O are the inputs and outputs of a product, G is the number of key-value heads, and E the size of a
head.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from triton import cdiv, next_power_of_2

from anytime_core.priors.transformer import triton_kernels as kernels
from anytime_core.priors.transformer.static import AfterNorm, TorchOperators
from anytime_core.triton_support import on

_MULTIPROCESSORS = 128
"""About how many of them a large GPU has: as many programs as that, or more, keep it busy."""
_LANES = 32
"""Threads of a warp."""
_READ, _KEPT = 16, 128
"""Bytes that a thread reads at once, and that it can keep of one tensor."""
_MOST_WARPS = 8
"""Of a program."""
_RESIDENT_WARPS = 16
"""How many warps a multiprocessor is given before programs get fewer."""

_ROWS_UP_TO = 4
"""Batch up to which each row reads all weights by itself: they lie in the cache, and sums need no tiles."""
_TILES_UP_TO = 64
"""Batch up to which products of tiles are no slower than the library's, and the kernels around them are saved."""
_GELU_UP_TO = 1024
"""Batch up to which a product with GELU in it, by tiles, is no slower than the library's and a kernel after it."""
_TILE_ROWS = 16
"""The fewest rows that matrix units multiply."""
_TILE_WIDTH_UP_TO = 1024
"""Width up to which a tile's rows fit in registers to be normalised."""
_ROW_INPUTS_UP_TO = 16_384
"""Inputs up to which a row fits in registers."""

_Form = Literal["row", "tile", "library"]


class TritonOperators(TorchOperators):
    """See `Operators`, for CUDA devices on which `runs_triton`."""

    def embed(
        self, first_input: Tensor, positions: Tensor, tables: Tensor, position: Tensor, previous: Tensor
    ) -> Tensor:
        """See `Operators`."""
        batch, width = first_input.shape
        number, codes, _ = tables.shape
        result = torch.empty_like(first_input)
        block = next_power_of_2(width)
        arguments = (result, first_input, positions, tables, position, previous, codes, number > 1, width, block)
        _start(kernels.embed, (batch,), *arguments, num_warps=_warps(block, 8))
        return result

    def attend(
        self, projected: Tensor, keys: Tensor, values: Tensor, last: Tensor, first: Tensor | None = None
    ) -> Tensor:
        """See `Operators`."""
        batch, groups, slots, size = keys.shape
        queries = projected.shape[1] // (size * groups) - 2
        result = projected.new_empty(batch, queries * groups * size)
        block, warps = _attention_block(keys, queries)
        arguments = (result, projected, keys, values, last, last if first is None else first, slots)
        blocks = (next_power_of_2(queries), next_power_of_2(size), block)
        fixed = (first is not None, groups, queries, size)
        _start(kernels.attend, (batch * groups,), *arguments, *fixed, *blocks, num_warps=warps)
        return result

    def after_norm(self, x: Tensor, part: AfterNorm, epsilon: float, *, gelu: bool = False) -> Tensor:
        """See `Operators`."""
        form = _form(x, normalise=True)
        fused_gelu = gelu and x.dtype == torch.bfloat16 and len(x) <= _GELU_UP_TO
        if form == "library" and not fused_gelu:
            return super().after_norm(x, part, epsilon, gelu=gelu)
        result = x.new_empty(len(x), len(part.bias))
        if form == "row":
            _multiply_rows(result, x, part, epsilon, gelu=gelu)
        elif form == "tile":
            _multiply_tiles(result, x, part, epsilon, gelu=gelu)
        else:
            _multiply_tiles(result, self.normalised(x, part.shift, epsilon), part, gelu=True)
        return result

    def normalised(self, x: Tensor, shift: Tensor, epsilon: float) -> Tensor:
        """See `TorchOperators`."""
        batch, width = x.shape
        result, block = torch.empty_like(x), next_power_of_2(width)
        _start(kernels.normalise, (batch,), result, x, shift, epsilon, width, block, num_warps=_warps(block, 8))
        return result

    def add_to(self, x: Tensor, y: Tensor, matrix: Tensor) -> Tensor:
        """See `Operators`."""
        form = _form(y, normalise=False)
        if form == "library":
            return super().add_to(x, y, matrix)
        multiply = _multiply_rows if form == "row" else _multiply_tiles
        multiply(x, y, AfterNorm(x, matrix, x), add=True)  # which reads neither shift nor bias
        return x


def _form(x: Tensor, *, normalise: bool) -> _Form:
    """How a product of `x` [B, I] is made.

    Tiles are in bfloat16 only: in float32 without rounding, matrix units do not multiply, and the library is faster.
    """
    batch, inputs = x.shape
    if batch <= _ROWS_UP_TO and inputs <= _ROW_INPUTS_UP_TO:
        return "row"
    fits = inputs <= _TILE_WIDTH_UP_TO or not normalise
    return "tile" if x.dtype == torch.bfloat16 and batch <= _TILES_UP_TO and fits else "library"


def _multiply_rows(
    result: Tensor, x: Tensor, part: AfterNorm, epsilon: float | None = None, *, gelu: bool = False, add: bool = False
) -> None:
    """Write the map of `x` [B, I] into `result` [B, O]: normalised before if there is an epsilon, or added to it."""
    (batch, inputs), outputs = x.shape, result.shape[1]
    tensors = (result, x, part.shift, part.matrix.T, part.bias, epsilon or 0.0)
    *blocks, warps = _row_block(x, outputs)
    grid, does = (cdiv(outputs, blocks[-1]), batch), (epsilon is not None, add, gelu)
    _start(kernels.row_product, grid, *tensors, outputs, *does, inputs, *blocks, num_warps=warps)


def _multiply_tiles(
    result: Tensor, x: Tensor, part: AfterNorm, epsilon: float | None = None, *, gelu: bool = False, add: bool = False
) -> None:
    """As `_multiply_rows`, in bfloat16."""
    (batch, inputs), outputs = x.shape, result.shape[1]
    tensors = (result, x, part.shift, part.matrix.T, part.bias, epsilon or 0.0)
    rows, *_, block = blocks = _tile_block(batch, inputs, outputs)
    grid, does = (cdiv(outputs, block), cdiv(batch, rows)), (epsilon is not None, add, gelu)
    whole = next_power_of_2(inputs)
    _start(kernels.tile_product, grid, *tensors, batch, outputs, *does, inputs, *blocks, whole, num_warps=4)


def _start(kernel: Any, grid: tuple[int, ...], result: Tensor, *arguments: Any, num_warps: int) -> None:
    with on(result.device):
        kernel[grid](result, *arguments, num_warps=num_warps)


def _warps(elements: int, per_thread: int) -> int:
    return _at_most(elements // (per_thread * _LANES), _MOST_WARPS)


def _row_block(x: Tensor, outputs: int) -> tuple[int, int, int, int]:
    """Chunks of a row `x`, which a warp reads at once, their inputs, outputs of a program, and its warps.

    There are outputs so few that programs fill the GPU and that a thread keeps no more of the weights than it can.
    """
    inputs = next_power_of_2(x.shape[1])
    most = _KEPT // x.itemsize * _LANES  # of a warp
    chunk = min(inputs, _READ // x.itemsize * _LANES)
    block = _at_most(min(outputs // _MULTIPROCESSORS, _MOST_WARPS * most // inputs), 16)
    return inputs // chunk, chunk, block, min(_MOST_WARPS, max(block, block * inputs // most))


def _tile_block(batch: int, inputs: int, outputs: int) -> tuple[int, int, int]:
    """Rows, inputs and outputs of one tile: few outputs where that makes programs for the whole GPU."""
    if batch > _TILES_UP_TO:
        large = cdiv(batch, 64) * (outputs // 128) >= _MULTIPROCESSORS
        return 64, 64, 128 if large else 64
    tiles = cdiv(batch, _TILE_ROWS)
    block = next((size for size in (64, 32) if tiles * (outputs // size) >= _MULTIPROCESSORS), 16)
    return _TILE_ROWS, max(16, min(next_power_of_2(inputs), max(128, 4096 // block))), block


def _attention_block(keys: Tensor, queries: int) -> tuple[int, int]:
    """Positions of `keys` [B, G, n, E] that a program reads at once for so many query heads, and its warps.

    The more programs there are, the fewer warps each has: those that run at once hide each other's waiting, at the
    ends of the loop too. With few programs, each reads so much that it goes through its loop once or twice. A thread
    keeps a sum for each query head and each number that it reads: 64 sums at most.
    """
    batch, groups, length, size = keys.shape
    warps = _at_most(_MULTIPROCESSORS * _RESIDENT_WARPS // (batch * groups), _MOST_WARPS)
    numbers = 64 // keys.itemsize if warps == _MOST_WARPS else 16  # of a thread
    numbers = min(numbers, _at_most(64 // queries, 64))
    block = max(1, warps * _LANES * numbers // next_power_of_2(size))
    return min(block, next_power_of_2(length)), warps


def _at_most(number: int, most: int) -> int:
    """The largest power of two up to both, or 1."""
    return min(most, max(1, next_power_of_2(number + 1) // 2))
