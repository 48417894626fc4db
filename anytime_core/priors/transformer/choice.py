"""Which of the transformer's engines is the fastest; the measurements behind it are in docs/performance.md."""

from __future__ import annotations

from pathlib import Path

import torch

from anytime_core.errors import UsageError

SMALL_BATCH = 16
"""Largest batch for which one compiled call a step beats torch's operators on the CPU."""
_COMPILATION_PAYS_FROM = 1e12
"""Multiply-adds, about a minute of drawing small batches, from which a job is worth compiling kernels first."""


def choose_engine(device: torch.device, precision: str, batch: int, multiply_adds: float, *, stepped: bool) -> str:
    """The fastest engine for a job.

    Args:
        device: of the prior.
        precision: that is asked for.
        batch: sequences a batch.
        multiply_adds: of the whole job.
        stepped: whether the job needs an engine that draws one code at a time.

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
    if device.type != "cpu" or precision != "float32" or batch > SMALL_BATCH:
        return "eager"
    return "numba" if _kernels_are_compiled() or multiply_adds > _COMPILATION_PAYS_FROM else "eager"


def _kernels_are_compiled() -> bool:
    """Whether a process has left numba's index of the compiled step beside its source; asked without loading numba."""
    folder = Path(__file__).parent
    changed = (folder / "kernels.py").stat().st_mtime
    return any(index.stat().st_mtime >= changed for index in (folder / "__pycache__").glob("kernels.step-*.nbi"))
