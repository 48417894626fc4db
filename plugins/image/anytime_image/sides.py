"""Images whose sides networks cannot halve often enough: padded before the encoder, cropped behind the decoder."""

from __future__ import annotations

from torch import nn


def padded_encoder(encoder: nn.Module, size: int, padded: int) -> nn.Module:
    """An encoder of images of `padded` pixels a side as one of `size`, whose edges are repeated outwards."""
    return encoder if size == padded else nn.Sequential(nn.ReplicationPad2d(_margins(size, padded)), encoder)


def cropped_decoder(decoder: nn.Module, size: int, padded: int) -> nn.Module:
    """A decoder to images of `padded` pixels a side as one to `size`, the middle of them."""
    left, right, top, bottom = _margins(size, padded)
    crop = nn.ZeroPad2d((-left, -right, -top, -bottom))
    return decoder if size == padded else nn.Sequential(decoder, crop)


def _margins(size: int, padded: int) -> tuple[int, int, int, int]:
    """Pixels at the left, right, top and bottom."""
    before = (padded - size) // 2
    after = padded - size - before
    return before, after, before, after
