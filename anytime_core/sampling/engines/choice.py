"""Which engine and which precision `auto` is; the measurements behind it are in docs/performance.md."""

from __future__ import annotations

from pathlib import Path

import torch

import anytime_core.decoding
from anytime_core.devices import multiplies_bfloat16
from anytime_core.errors import UsageError

_SMALL_BATCH = 16
"""Largest batch for which one compiled call a step beats torch's operators on the CPU."""
_COMPILATION_PAYS_FROM = 1e12
"""Multiply-adds, about a minute of drawing small batches, from which a job is worth compiling kernels first."""


def choose_engine(device: torch.device, precision: str, batch: int, multiply_adds: float, *, stepped: bool) -> str:
    """The fastest engine for a job.

    Args:
        device: of the prior.
        precision: that is asked for, see `choose_precision`.
        batch: sequences a batch.
        multiply_adds: of the whole job.
        stepped: whether the job needs an engine that draws one code at a time, in buffers of its own.

    Raises:
        UsageError: the device has no engine of this precision.
    """
    if device.type != "cpu" and precision == "int8":
        raise UsageError(
            f"precision int8 runs on the CPU, not on '{device}': use --device cpu, or --precision bfloat16"
        )
    if device.type == "cuda":
        return "eager" if stepped else "graph"
    if precision == "int8":
        return "numba"
    if device.type != "cpu" or precision != "float32" or batch > _SMALL_BATCH:
        return "eager"
    return "numba" if _kernels_are_compiled() or multiply_adds > _COMPILATION_PAYS_FROM else "eager"


def choose_precision(device: torch.device, batch: int) -> str:
    """bfloat16 where the device multiplies it and a batch is large enough to be bound by products, else float32."""
    return "bfloat16" if multiplies_bfloat16(device) and (device.type != "cpu" or batch > _SMALL_BATCH) else "float32"


def _kernels_are_compiled() -> bool:
    """Whether a process has left numba's index of the compiled step beside its source; asked without loading numba."""
    folder = Path(anytime_core.decoding.__path__[0])
    changed = (folder / "kernels.py").stat().st_mtime
    return any(index.stat().st_mtime >= changed for index in (folder / "__pycache__").glob("kernels.step-*.nbi"))
