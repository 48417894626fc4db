"""Measures of image quality, each (x_hat, x) [B, channels, H, W] with values in [-1, 1] -> [B]."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from anytime_image.losses import mean_squared_error

PEAK = 2.0
"""Largest difference of two pixel values, as samples lie in [-1, 1]."""


def peak_signal_to_noise_ratio(x_hat: Tensor, x: Tensor) -> Tensor:
    """PSNR in dB, capped at 100 for identical images."""
    return 10 * (PEAK**2 / mean_squared_error(x_hat, x).clamp(min=PEAK**2 * 1e-10)).log10()


def structural_similarity(x_hat: Tensor, x: Tensor) -> Tensor:
    """SSIM (Wang et al. 2004): Gaussian window of sigma 1.5, 11 pixels wide or as large as the image allows."""
    smallest = min(x.shape[-2:])
    size = min(11, smallest if smallest % 2 else smallest - 1)
    similarity = structural_similarity_index_measure(
        x_hat, x, gaussian_kernel=True, sigma=1.5 * size / 11, data_range=PEAK, reduction="none"
    )
    assert isinstance(similarity, Tensor)
    return similarity


METRICS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": mean_squared_error,
    "psnr": peak_signal_to_noise_ratio,
    "ssim": structural_similarity,
}
"""Metrics by name."""
