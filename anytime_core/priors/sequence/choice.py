"""Whether compiled kernels pay on the CPU. The measurements behind it are in docs/performance.md."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

_SMALL_BATCH = 16
"""The largest batch for which one compiled call per step beats torch's operators."""
_LOADING_PAYS_FROM, _COMPILATION_PAYS_FROM = 2 * 10**4, 10**6
"""If a job has more steps, each of which is some 30 microseconds faster, it is worth loading numba, and compiling the
kernel first."""


def compiled_step_pays(device: torch.device, precision: str, batch: int, steps: float, source: Path) -> bool:
    """Whether the kernel `step` is the fastest way to run a sequence prior of small layers.

    Args:
        device: the device of the prior.
        precision: the precision that is asked for.
        batch: sequences per batch.
        steps: steps of the whole job.
        source: the file of the kernel.
    """
    if device.type != "cpu" or precision != "float32" or batch > _SMALL_BATCH:
        return False
    if not is_compiled(source, "step"):
        return steps > _COMPILATION_PAYS_FROM
    return steps > _LOADING_PAYS_FROM or "numba" in sys.modules


def is_compiled(source: Path, kernel: str) -> bool:
    """Whether numba's index of a compiled kernel is beside its source; this does not load numba."""
    changed = source.stat().st_mtime
    indices = (source.parent / "__pycache__").glob(f"{source.stem}.{kernel}-*.nbi")
    return any(index.stat().st_mtime >= changed for index in indices)
