"""Classifier-free guidance (Ho and Salimans, "Classifier-Free Diffusion Guidance", 2022), of logits.

What the prior says of a sequence with its label is moved away from what it says without one. Both are asked for by one
network call of twice the batch: the sequences with their labels, then the same ones with the null label.

Letters: B batch, K codebook size.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from anytime_core.decoding.base import Decoder
from anytime_core.errors import UsageError
from anytime_core.priors import Prior
from anytime_core.sampling.draw import Filter


def check_guidance(prior: Prior, filtering: Filter, folder: Path) -> None:
    """Raise UsageError where the prior of the run in `folder` cannot be guided as `filtering` asks."""
    if not filtering.guided or prior.start.null_label is not None:
        return
    if not prior.classes:
        raise UsageError(
            f"guidance {filtering.guidance:g} needs class labels, which the prior of run {folder} does not know: use 1"
        )
    raise UsageError(
        f"guidance {filtering.guidance:g} needs a prior that was trained without labels too, and that of run {folder} "
        f"was not: use 1, or anytime train --run {folder} --stage prior --force "
        "--set prior.label_dropout=0.1"
    )


def with_null_labels(prior: Prior, labels: Tensor | None) -> Tensor:
    """Labels [B] -> [2 B], those of the sequences and then the null label for each of them."""
    assert labels is not None
    assert prior.start.null_label is not None  # as `check_guidance` has seen
    return torch.cat([labels, torch.full_like(labels, prior.start.null_label)])


def guided(logits: Tensor, guidance: float) -> Tensor:
    """Logits [2 B, ...] with labels and without -> [B, ...]: without, plus `guidance` times the difference."""
    told, untold = logits.float().chunk(2)
    # What is impossible is so with and without a label.
    return torch.where(told.isneginf(), told, untold + guidance * (told - untold))


class GuidedDecoder:
    """See `Decoder`.

    Args:
        decoder: of the sequences with their labels, and of the same ones with the null label.
        batch: B.
        guidance: see `Filter`.
    """

    def __init__(self, decoder: Decoder, batch: int, guidance: float) -> None:
        self.decoder, self.batch, self.guidance = decoder, batch, guidance

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        """Logits [B, K] of the code at `position`."""
        both = None if previous is None else previous.repeat(2)
        return guided(self.decoder.step(position, both), self.guidance)

    def keep(self, rows: Tensor) -> None:
        """Go on with the sequences `rows` only."""
        self.decoder.keep(torch.cat([rows, rows + self.batch]))
        self.batch = len(rows)
