"""Numbers on their way from the host to a device, which nothing waits for."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """`values` on `device`. Neither the host nor the device waits for what the other is doing."""
    if values.device == device or values.device.type != "cpu" or device.type != "cuda":
        return values.to(device)
    # From pageable memory the host would wait until all earlier work of the device is done.
    return values.pin_memory().to(device, non_blocking=True)
