"""Which engine of the transformer is the fastest. The measurements behind it are in docs/performance.md."""

from __future__ import annotations

from pathlib import Path

import torch

from anytime_core.errors import UsageError
from anytime_core.priors.sequence.choice import is_compiled

_KERNELS = Path(__file__).parent / "kernels.py"
_SMALL_BATCH, _SMALL_BATCH_OF_LARGE_WEIGHTS = 16, 7
"""The largest batches for which one compiled call per step beats torch's products on the CPU."""
_LARGE_WEIGHTS = 2**23
"""Bytes of weights that do not stay in a core's cache."""
_LOADING_PAYS_FROM = 2e11
"""If a job of large batches has more multiply-adds, some seconds of work, it is worth loading numba."""
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
    large = batch > _SMALL_BATCH
    if device.type != "cpu" or precision != "float32" or (large and multiply_adds < _LOADING_PAYS_FROM):
        return "eager"
    return (
        "numba"
        if is_compiled(_KERNELS, "attend" if large else "step") or multiply_adds > _COMPILATION_PAYS_FROM
        else "eager"
    )


def is_small(batch: int, weights: int) -> bool:
    """Whether one compiled call per step beats torch's products; `weights` is their size in bytes."""
    return batch <= (_SMALL_BATCH if weights < _LARGE_WEIGHTS else _SMALL_BATCH_OF_LARGE_WEIGHTS)
