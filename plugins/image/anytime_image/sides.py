"""Images whose sides cannot be halved often enough are padded before the encoder and cropped after the decoder."""

from __future__ import annotations

from torch import nn


def padded_encoder(encoder: nn.Module, size: int, padded: int) -> nn.Module:
    """An encoder of images with sides of `padded` pixels, made one for `size`: edges are repeated outwards."""
    return encoder if size == padded else nn.Sequential(nn.ReplicationPad2d(_margins(size, padded)), encoder)


def cropped_decoder(decoder: nn.Module, size: int, padded: int) -> nn.Module:
    """A decoder to images with sides of `padded` pixels, made one for `size`: the middle is kept."""
    left, right, top, bottom = _margins(size, padded)
    crop = nn.ZeroPad2d((-left, -right, -top, -bottom))
    return decoder if size == padded else nn.Sequential(decoder, crop)


def _margins(size: int, padded: int) -> tuple[int, int, int, int]:
    """Pixels added at the left, right, top and bottom."""
    before = (padded - size) // 2
    after = padded - size - before
    return before, after, before, after
