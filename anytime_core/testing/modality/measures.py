"""Checks of a modality's loss and metrics."""

from __future__ import annotations

from pathlib import Path

import torch

from anytime_core.testing.modality.subject import CLOSE, Subject, check


@check()
def loss_is_lower_for_closer(subject: Subject, folder: Path) -> None:
    """The loss is [B], finite, differentiable, the same for a row alone, and lower the closer a sample is."""
    x = subject.x
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    far, near = (x + noise).clamp(-1, 1), (x + 0.05 * noise).clamp(-1, 1)
    losses = [subject.made.reconstruction_loss(x_hat, x) for x_hat in (far, near, x)]
    for loss in losses:
        assert loss.shape == (len(x),), f"the loss has shape {tuple(loss.shape)}, not ({len(x)},)"
        assert loss.isfinite().all(), "the loss is not finite"
    means = [loss.mean().item() for loss in losses]
    assert means[0] > means[1] >= means[2], f"far, near and equal samples have losses {means}"
    alone = torch.cat([subject.made.reconstruction_loss(*pair) for pair in zip(near.split(1), x.split(1), strict=True)])
    torch.testing.assert_close(alone, losses[1], rtol=1e-3, atol=CLOSE)


@check()
def metrics_are_best_at_identity(subject: Subject, folder: Path) -> None:
    """Each metric is [B], finite, and best if a sample equals its original."""
    x = subject.x
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    compared = [x, (x + 0.05 * noise).clamp(-1, 1), (x + noise).clamp(-1, 1)]
    metrics = subject.made.metrics()
    assert metrics, "metrics() is empty"
    for name, metric in metrics.items():
        values = [metric(x_hat, x) for x_hat in compared]
        for value in values:
            assert value.shape == (len(x),), f"metric {name} has shape {tuple(value.shape)}, not ({len(x)},)"
            assert value.isfinite().all(), f"metric {name} is not finite"
        equal, near, far = (value.double().mean().item() for value in values)
        rising, falling = equal <= near <= far and equal < far, equal >= near >= far and equal > far
        assert rising or falling, (
            f"metric {name} is {equal:.4g} for equal, {near:.4g} for near, {far:.4g} for far samples"
        )
