"""Kernels that are written in Triton: where they run, and on which device."""

from __future__ import annotations

import importlib
import logging
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib.util import find_spec

import torch

_log = logging.getLogger(__name__)

_CAPABILITY = (8, 0)
"""The oldest compute capability with all that the kernels use; bfloat16 begins there."""


def runs_triton(device: torch.device) -> bool:
    """Whether kernels that are written in Triton run on this device, which torch's operators always do."""
    if device.type != "cuda" or torch.version.hip is not None or find_spec("triton") is None:
        return False
    return torch.cuda.get_device_capability(device) >= _CAPABILITY and _starts_kernels()


@cache
def _starts_kernels() -> bool:
    """Whether Triton can start kernels: it compiles the code for that with the C compiler of the machine."""
    try:
        importlib.import_module("triton.runtime").driver.active.get_current_target()
    except Exception as error:  # it may lack a compiler, Python's headers or the driver, and says so in many ways
        first_line = str(error).partition("\n")[0]
        _log.warning("Triton does not work here (%s): slower kernels of torch are used", first_line)
        return False
    return True


def on(device: torch.device) -> AbstractContextManager[object]:
    """Start kernels on this device, which Triton does not see from their tensors."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
