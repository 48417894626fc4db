"""Which device and which precision a run uses."""

from __future__ import annotations

import os
import re

import torch

from anytime_core.config import Precision
from anytime_core.errors import UsageError

_WAYS_OUT = "use cpu or auto"


def resolve_device(name: str) -> torch.device:
    """The device of a config's `auto`, `cpu`, `cuda`, `cuda:N` or `mps`, with its index unless it is the CPU.

    Each of several processes on one machine has a GPU of its own, which torchrun and accelerate tell by `LOCAL_RANK`;
    `cuda:N` is that GPU in every process.

    Raises:
        UsageError: no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f"unknown device '{name}': use auto, cpu, cuda, cuda:N or mps") from None
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type == "mps":
        if not torch.backends.mps.is_available():
            raise UsageError(f"device 'mps' is not here: {_WAYS_OUT}")
        return torch.device("mps", 0)
    if device.type != "cuda":
        raise UsageError(f"unknown device '{name}': use auto, cpu, cuda, cuda:N or mps")
    count = torch.cuda.device_count()
    if device.index is not None:
        if device.index >= count:
            raise UsageError(f"device '{device}' is not here ({count} CUDA devices): {_WAYS_OUT}")
        return _supported(device)
    own = local_rank()
    if own is None:
        if not count:
            raise UsageError(f"device 'cuda' is not here (0 CUDA devices): {_WAYS_OUT}")
        return _supported(torch.device("cuda", torch.cuda.current_device()))
    if own >= count:
        raise UsageError(
            f"process {own} of this machine has no GPU of its own ({count} CUDA devices): start {count} processes "
            "here, or use device cpu"
        )
    return _supported(torch.device("cuda", own))


def _supported(device: torch.device) -> torch.device:
    """`device`. Raises UsageError if the installed torch has no kernels for so old a GPU."""
    built = [int(found[1]) for name in torch.cuda.get_arch_list() if (found := re.match(r"sm_(\d+)", name))]
    major, minor = torch.cuda.get_device_capability(device)
    if built and 10 * major + minor < min(built):
        oldest = divmod(min(built), 10)
        raise UsageError(
            f"device '{device}' has compute capability {major}.{minor}, and the installed torch is made for "
            f"{oldest[0]}.{oldest[1]} and later: use cpu, or install a torch for it"
        )
    return device


def local_rank() -> int | None:
    """Number of this process among those that were launched on this machine, None if it was not launched."""
    value = os.environ.get("LOCAL_RANK")
    if value is None:
        return None
    if not value.isdecimal():
        raise UsageError(f"LOCAL_RANK={value} is not the number of a process: unset it, or start this by torchrun")
    return int(value)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16 products. Without them, bfloat16 is far slower than float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("arm_bf16"))
    return False


def require_bfloat16(device: torch.device) -> None:
    """Raise UsageError for a GPU that cannot multiply bfloat16."""
    if device.type == "cuda" and not multiplies_bfloat16(device):
        major, minor = torch.cuda.get_device_capability(device)
        raise UsageError(
            f"precision bfloat16 needs a GPU of compute capability 8.0, and '{device}' has {major}.{minor}: use float32"
        )


def resolve_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """The dtype of matrix products: `auto` is bfloat16 if the device multiplies it, else float32."""
    if precision == "auto":
        return torch.bfloat16 if multiplies_bfloat16(device) else torch.float32
    if precision == "bfloat16":
        require_bfloat16(device)
    if precision == "float16" and device.type == "cpu":
        raise UsageError("precision float16 needs a GPU: use float32 or bfloat16 on the CPU")
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]
