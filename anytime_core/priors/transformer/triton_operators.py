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

_ROWS_UP_TO = 4
"""Batch up to which each row reads all weights by itself: they lie in the cache, and sums need no tiles."""
_TILES_UP_TO = 64
"""Batch up to which products of tiles are no slower than the library's, and the kernels around them are saved."""
_TILE_ROWS = 16
"""The fewest rows that matrix units multiply."""
_TILE_WIDTH_UP_TO = 1024
"""Width up to which a tile's rows fit in registers to be normalised."""
_ROW_INPUTS_UP_TO = 16_384
"""Inputs up to which a row fits in registers."""
_FEW_ATTENDING = 256
"""Up to so many rows and key-value heads, each is given all threads that it can use."""

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

    def attend(self, projected: Tensor, keys: Tensor, values: Tensor, position: Tensor) -> Tensor:
        """See `Operators`."""
        batch, groups, length, size = keys.shape
        queries = projected.shape[1] // (size * groups) - 2
        result = projected.new_empty(batch, queries * groups * size)
        block, warps = _attention_block(keys, queries)
        arguments = (result, projected, keys, values, position, length, groups, queries, size)
        blocks = (next_power_of_2(queries), next_power_of_2(size), block)
        _start(kernels.attend, (batch * groups,), *arguments, *blocks, num_warps=warps)
        return result

    def after_norm(self, x: Tensor, part: AfterNorm, epsilon: float, *, gelu: bool = False) -> Tensor:
        """See `Operators`."""
        if _form(x, normalise=True) == "library":
            return super().after_norm(x, part, epsilon, gelu=gelu)
        result = x.new_empty(len(x), len(part.bias))
        _multiply(result, x, part, epsilon, gelu=gelu)
        return result

    def normalised(self, x: Tensor, shift: Tensor, epsilon: float) -> Tensor:
        """See `TorchOperators`."""
        batch, width = x.shape
        result, block = torch.empty_like(x), next_power_of_2(width)
        _start(kernels.normalise, (batch,), result, x, shift, epsilon, width, block, num_warps=_warps(block, 8))
        return result

    def add_to(self, x: Tensor, y: Tensor, matrix: Tensor) -> Tensor:
        """See `Operators`."""
        if _form(y, normalise=False) == "library":
            return super().add_to(x, y, matrix)
        # Neither shift nor bias is read then.
        _multiply(x, y, AfterNorm(x, matrix, x), None)
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


def _multiply(result: Tensor, x: Tensor, part: AfterNorm, epsilon: float | None, *, gelu: bool = False) -> None:
    """Write into `result` [B, O] what follows the normalisation of `x` [B, I]; without epsilon, add to it."""
    (batch, inputs), outputs = x.shape, result.shape[1]
    normalise = epsilon is not None
    tensors = (result, x, part.shift, part.matrix.T, part.bias, epsilon or 0.0)
    if _form(x, normalise=normalise) == "row":
        *blocks, warps = _row_block(x, outputs)
        grid = cdiv(outputs, blocks[-1]), batch
        _start(kernels.row_product, grid, *tensors, outputs, normalise, gelu, inputs, *blocks, num_warps=warps)
        return
    tiles = cdiv(batch, _TILE_ROWS)
    input_block, output_block = _tile_block(tiles, inputs, outputs)
    sizes = (batch, outputs, normalise, gelu, inputs)
    tile = (_TILE_ROWS, input_block, output_block, next_power_of_2(inputs))
    _start(kernels.tile_product, (cdiv(outputs, output_block), tiles), *tensors, *sizes, *tile, num_warps=4)


def _start(kernel: Any, grid: tuple[int, ...], result: Tensor, *arguments: Any, num_warps: int) -> None:
    with on(result.device):
        kernel[grid](result, *arguments, num_warps=num_warps)


def _warps(elements: int, per_thread: int) -> int:
    return max(1, min(_MOST_WARPS, elements // (per_thread * _LANES)))


def _row_block(x: Tensor, outputs: int) -> tuple[int, int, int, int]:
    """Chunks of a row `x`, which a warp reads at once, their inputs, outputs of a program, and its warps.

    There are outputs so few that programs fill the GPU and that a thread keeps no more of the weights than it can.
    """
    inputs = next_power_of_2(x.shape[1])
    most = _KEPT // x.itemsize * _LANES  # of a warp
    chunk = min(inputs, _READ // x.itemsize * _LANES)
    enough = next_power_of_2(outputs // _MULTIPROCESSORS + 1) // 2
    block = max(1, min(enough, 16, _MOST_WARPS * most // inputs))
    return inputs // chunk, chunk, block, min(_MOST_WARPS, max(block, block * inputs // most))


def _tile_block(tiles: int, inputs: int, outputs: int) -> tuple[int, int]:
    """Inputs and outputs of one tile of weights: few outputs where that makes programs for the whole GPU."""
    output_block = next((size for size in (64, 32) if tiles * (outputs // size) >= _MULTIPROCESSORS), 16)
    return max(16, min(next_power_of_2(inputs), max(128, 4096 // output_block))), output_block


def _attention_block(keys: Tensor, queries: int) -> tuple[int, int]:
    """Positions of `keys` [B, G, n, E] that a program reads at once for so many query heads, and its warps.

    A thread keeps a sum for each query head and each number that it reads: 64 sums at most. With few programs, one
    reads so much that it goes through its loop once or twice; with many, they hide each other's waiting.
    """
    batch, groups, length, size = keys.shape
    few = batch * groups <= _FEW_ATTENDING
    warps = _MOST_WARPS if few else 4
    numbers = min(64 // keys.itemsize if few else 16, max(1, 64 // next_power_of_2(queries)))  # of a thread
    block = max(1, warps * _LANES * numbers // next_power_of_2(size))
    return min(block, next_power_of_2(length)), warps
