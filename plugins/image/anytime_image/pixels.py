"""Images as pixels: float32 in [-1, 1], uint8, and Pillow's pictures.

Nothing here needs torchvision: importing it takes longer than drawing and writing samples.
C is the number of channels (1 or 3), H and W are height and width in pixels.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor


def to_float(images: Tensor) -> Tensor:
    """uint8 -> float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """Float in [-1, 1] -> uint8; values outside are clipped."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def to_picture(image: Tensor) -> Image.Image:
    """uint8 [C, H, W] on the CPU -> a picture, grey or RGB."""
    pixels = image.permute(1, 2, 0).numpy()  # [H, W, C]
    return Image.fromarray(np.ascontiguousarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels))


def from_picture(picture: Image.Image) -> Tensor:
    """A picture of mode L or RGB -> uint8 [C, H, W]."""
    pixels = np.array(picture)
    return torch.from_numpy(pixels).view(*pixels.shape[:2], -1).permute(2, 0, 1)


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize uint8 [..., C, H, W], by averages of pixels that are near."""
    if images.shape[-2:] == size:
        return images
    stacked = images.reshape(-1, *images.shape[-3:])
    fitted = F.interpolate(stacked, size, mode="bilinear", align_corners=False, antialias=True)
    return fitted.reshape(*images.shape[:-2], *size)
