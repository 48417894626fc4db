"""Contact sheets: rows of images with captions, in one PNG."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from anytime_core.modality import PreviewRow
from anytime_image.pixels import to_picture, to_uint8

_TILE = 64
_GAP = 2
_TEXT = 15
_PAPER = 255


def contact_sheet(rows: Sequence[PreviewRow]) -> Image.Image:
    """Draw rows of images [B, C, H, W], small ones enlarged pixel by pixel, with captions at the left."""
    font = ImageFont.load_default(_TEXT)
    margin = max((int(font.getlength(row.caption)) for row in rows), default=0)
    margin += 2 * _GAP + 8 if margin else 0
    strips = [_strip(row.x) for row in rows]
    width = margin + max(strip.width for strip in strips)
    sheet = Image.new("RGB", (width, sum(strip.height for strip in strips)), (_PAPER,) * 3)
    draw = ImageDraw.Draw(sheet)
    top = 0
    for row, strip in zip(rows, strips, strict=True):
        sheet.paste(strip, (margin, top))
        draw.text((_GAP + 4, top + strip.height // 2), row.caption, fill=(40, 40, 40), font=font, anchor="lm")
        top += strip.height
    return sheet


def animation_frames(steps: Sequence[Tensor]) -> list[Image.Image]:
    """One picture for each image [C, H, W], small ones enlarged pixel by pixel."""
    return [_strip(x.unsqueeze(0)) for x in steps]


def _strip(x: Tensor) -> Image.Image:
    images = to_uint8(x.detach().cpu())
    scale = max(1, _TILE // images.shape[-1])
    enlarged = images.repeat_interleave(scale, 2).repeat_interleave(scale, 3).expand(-1, 3, -1, -1)
    if len(enlarged) == 1:
        return to_picture(enlarged[0])
    spaced = F.pad(enlarged, (_GAP, 0, _GAP, _GAP), value=_PAPER)
    return to_picture(F.pad(torch.cat(list(spaced), 2), (0, _GAP), value=_PAPER))
