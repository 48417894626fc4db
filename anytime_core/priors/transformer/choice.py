"""Which engine of the transformer is the fastest. The measurements behind it are in docs/performance.md."""

from __future__ import annotations

from pathlib import Path

import torch

from anytime_core.errors import UsageError

SMALL_BATCH = 16
"""The largest batch for which one compiled call per step beats torch's operators on the CPU."""
_COMPILATION_PAYS_FROM = 1e12
"""If a job has more multiply-adds, about a minute of small batches, it is worth compiling kernels first."""


def choose_engine(device: torch.device, precision: str, batch: int, multiply_adds: float) -> str:
    """The fastest engine for a job.

    Args:
        device: the device of the prior.
        precision: the precision that is asked for.
        batch: sequences per batch.
        multiply_adds: multiply-adds of the whole job.

    Raises:
        UsageError: the device has no engine of this precision.
    """
    if device.type != "cpu" and precision == "int8":
        raise UsageError(
            f"precision int8 runs on the CPU, not on '{device}': use --device cpu, or --precision bfloat16"
        )
    if device.type == "cuda":
        return "graph"
    if precision == "int8":
        return "numba"
    if device.type != "cpu" or precision != "float32" or batch > SMALL_BATCH:
        return "eager"
    return "numba" if _kernels_are_compiled() or multiply_adds > _COMPILATION_PAYS_FROM else "eager"


def _kernels_are_compiled() -> bool:
    """Whether numba's index of the compiled step is beside its source; this does not load numba."""
    folder = Path(__file__).parent
    changed = (folder / "kernels.py").stat().st_mtime
    return any(index.stat().st_mtime >= changed for index in (folder / "__pycache__").glob("kernels.step-*.nbi"))
