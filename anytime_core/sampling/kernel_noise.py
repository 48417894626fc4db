"""Noise that kernels make where it is used, from keys and a position in device memory, so that captured work draws with
any noise and none is kept.

n is the number of codes, G the number of numbers that drawing a code takes.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor
from triton import next_power_of_2

from anytime_core.priors.heads import NoiseNeed
from anytime_core.priors.stepping import Position
from anytime_core.sampling import triton_kernels
from anytime_core.triton_support import on

_FEWEST, _MOST = 32, 1024
"""Numbers that a program makes at a time."""


class KernelNoise:
    """See `StaticNoise`, for devices on which `runs_triton`.

    Args:
        keys: [B, 2] int64 on the device, see `sampling.philox.keys`.
        length: n.
        need: what drawing a code takes.
    """

    def __init__(self, keys: Tensor, length: int, need: NoiseNeed) -> None:
        self._keys, self._need = keys, need
        self.shape, self.device = (len(keys), length, need.numbers), keys.device
        self.key: Hashable = ("made by kernels", len(keys), need)
        self.tensors: Sequence[Tensor] = (keys,)

    def at(self, position: Position) -> Tensor:
        """See `Noise`."""
        return self._made(position, 1).squeeze(1)

    def whole(self) -> Tensor:
        """See `Noise`."""
        return self._made(0, self.shape[1])

    def largest_sum(self, position: Position, logits: Tensor) -> Tensor:
        """See `Noise`; no noise is written to memory."""
        logits = logits if logits.stride(-1) == 1 else logits.contiguous()
        batch, values = logits.shape
        codes = torch.empty(batch, dtype=torch.int64, device=self.device)
        if batch:
            arguments = (codes, logits, self._keys, self._on_device(position), logits.stride(0), values)
            with on(self.device):
                triton_kernels.draw[(batch,)](*arguments, **_together(values))
        return codes

    def static(self) -> KernelNoise:
        """See `Noise`: a copy, as captured work writes the keys of the next batch into it."""
        return KernelNoise(self._keys.clone(), self.shape[1], self._need)

    def _made(self, position: Position, codes: int) -> Tensor:
        """Noise of `codes` codes from `position` on, [B, codes, G]."""
        batch, numbers, kind = len(self._keys), self._need.numbers, self._need.kind
        dtype = torch.float64 if kind == "normal" else torch.float32
        result = torch.empty(batch, codes, numbers, dtype=dtype, device=self.device)
        if result.numel():
            arguments = (result, self._keys, self._on_device(position), codes, numbers)
            with on(self.device):
                triton_kernels.fill[(batch * codes,)](
                    *arguments, KIND="bits" if kind == "normal" else kind, **_together(numbers)
                )
        return torch.special.ndtri(result).float() if kind == "normal" else result

    def _on_device(self, position: Position) -> Tensor:
        if isinstance(position, Tensor):
            return position
        return torch.full((1,), position, dtype=torch.int64, device=self.device)


def _together(numbers: int) -> dict[str, int]:
    """How many numbers a program makes at a time, and by how many warps: a thread makes a block of eight."""
    together = min(max(next_power_of_2(numbers), _FEWEST), _MOST)
    return {"NUMBERS": together, "num_warps": max(together // 256, 1)}
