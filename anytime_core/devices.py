"""Which device and which precision a run uses."""

from __future__ import annotations

import os

import torch

from anytime_core.config import Precision
from anytime_core.errors import UsageError


def resolve_device(name: str) -> torch.device:
    """The device of a config's `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Each of several processes on one machine has a GPU of its own, which torchrun and accelerate tell by `LOCAL_RANK`.

    Raises:
        UsageError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device '{name}': use auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cuda":
        if device.index is None and "LOCAL_RANK" in os.environ:
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            raise UsageError(f"device '{device}' is not here ({count} CUDA devices): use --device cpu or auto")
    elif device.type == "mps":
        if not torch.backends.mps.is_available():
            raise UsageError("device 'mps' is not here: use --device cpu or auto")
    elif device.type != "cpu":
        raise UsageError(f"unknown device '{name}': use auto, cpu, cuda, cuda:N or mps")
    return device


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16 products; without them bfloat16 is far slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("arm_bf16"))
    return False


def resolve_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """The dtype of matrix products: `auto` is bfloat16 where the device multiplies it, else float32."""
    if precision == "auto":
        return torch.bfloat16 if multiplies_bfloat16(device) else torch.float32
    if precision == "float16" and device.type == "cpu":
        raise UsageError("precision float16 needs a GPU: use float32 or bfloat16 on the CPU")
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
