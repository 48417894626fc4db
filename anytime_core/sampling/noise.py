"""Pre-drawn noise. It belongs to a sample's global index, so that neither batching nor sharding changes a sample.

Letters: B batch, n codes, K codebook size.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

_THREADED_FROM = 2**20
"""Numbers from which drawing them in threads pays."""


def gumbel_noise(seed: int, indices: Sequence[int], length: int, codebook_size: int) -> Tensor:
    """Standard Gumbel noise: adding it to logits and taking the largest draws from their distribution.

    Each sample has its own counter-based stream (Philox) keyed by the seed and the sample's global index; noise for
    n codes is the beginning of the noise for more of them.

    Args:
        seed: of the call.
        indices: B global sample indices.
        length: n.
        codebook_size: K.

    Returns:
        [B, n, K] float32 on the CPU.
    """
    noise = np.empty((len(indices), length * codebook_size), dtype=np.float32)

    def fill(rows: slice) -> None:
        for row, index in zip(noise[rows], indices[rows], strict=True):
            generator = np.random.Generator(np.random.Philox(key=np.array([seed, index], dtype=np.uint64)))
            generator.standard_exponential(dtype=np.float32, out=row)

    if noise.size < _THREADED_FROM:
        fill(slice(None))
    else:
        step = -(-len(indices) // torch.get_num_threads())
        with ThreadPoolExecutor() as threads:
            list(threads.map(fill, [slice(first, first + step) for first in range(0, len(indices), step)]))
    exponential = torch.from_numpy(noise).clamp_(min=torch.finfo(torch.float32).tiny)
    return exponential.log_().neg_().view(len(indices), length, codebook_size)
