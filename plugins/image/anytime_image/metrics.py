"""Measures of image quality, each (x_hat, x) [B, channels, H, W] with values in [-1, 1] -> [B]."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from anytime_image.losses import mean_squared_error

PEAK = 2.0
"""Largest difference of two pixel values: samples lie in [-1, 1]."""

_WINDOW, _DEVIATION = 11, 1.5
_REACH = 3.5  # standard deviations to either side
_STEADY = (0.01 * PEAK) ** 2, (0.03 * PEAK) ** 2
"""The constants of the paper, which avoid division by zero in dark and even places."""


def peak_signal_to_noise_ratio(x_hat: Tensor, x: Tensor) -> Tensor:
    """PSNR in dB, capped at 100 for identical images."""
    return 10 * (PEAK**2 / mean_squared_error(x_hat, x).clamp(min=PEAK**2 * 1e-10)).log10()


def structural_similarity(x_hat: Tensor, x: Tensor) -> Tensor:
    """SSIM (Wang et al. 2004): Gaussian window of sigma 1.5, 11 pixels wide or as large as the image allows."""
    smallest = min(x.shape[-2:])
    deviation = _DEVIATION * min(_WINDOW, smallest if smallest % 2 else smallest - 1) / _WINDOW
    reach = int(_REACH * deviation + 0.5)
    offsets = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
    weights = (-(offsets / deviation).square() / 2).exp()
    weights = weights / weights.sum()
    window = torch.outer(weights, weights).expand(x.shape[1], 1, -1, -1)

    x_hat, x = (F.pad(image, [reach] * 4, mode="reflect") for image in (x_hat, x))
    together = torch.cat([x_hat, x, x_hat.square(), x.square(), x_hat * x])
    mean_hat, mean, square_hat, square, product = F.conv2d(together, window, groups=x.shape[1]).chunk(5)
    variances = (square_hat - mean_hat.square()).clamp(min=0) + (square - mean.square()).clamp(min=0)
    covariance = product - mean_hat * mean
    luminance = (2 * mean_hat * mean + _STEADY[0]) / (mean_hat.square() + mean.square() + _STEADY[0])
    structure = (2 * covariance + _STEADY[1]) / (variances + _STEADY[1])
    return (luminance * structure).flatten(1).mean(1)


METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": mean_squared_error,
    "psnr": peak_signal_to_noise_ratio,
    "ssim": structural_similarity,
}
"""Metrics by name."""
