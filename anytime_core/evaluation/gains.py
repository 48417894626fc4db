"""How much each further code buys in reconstruction, and whether the order of the codes agrees with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from torch import Tensor

from anytime_core.curve import preview_lengths, reconstruction_curve
from anytime_core.damaged import damaged
from anytime_core.evaluation.judge import BATCH, OnProgress
from anytime_core.evaluation.metrics import LOSS
from anytime_core.modality import SampleDataset
from anytime_core.run import Run
from anytime_core.training.batches import ordered_batches

_LENGTHS, _SAMPLES = 64, 500
"""The most numbers of codes, and the most samples, that are measured."""


def gains_of_codes(run: Run, validation: SampleDataset, on_progress: OnProgress) -> dict[int, float]:
    """Number of codes -> reconstruction loss of some validation samples."""

    def batches() -> Iterator[Mapping[str, Tensor]]:
        done, total = 0, min(_SAMPLES, len(validation) - damaged(validation).count)
        for batch in ordered_batches(validation, BATCH, limit=_SAMPLES, workers=0):
            yield batch
            done += len(batch["x"])
            on_progress(f"{run.folder}, gains of further codes", done, total)

    lengths = preview_lengths(run.code_length, _LENGTHS)
    curve = reconstruction_curve(run.autoencoder, {LOSS: run.modality.reconstruction_loss}, batches(), lengths)
    return dict(zip(curve.lengths, curve.values[LOSS], strict=True))


def order_agreement(gains: Mapping[int, float]) -> float | None:
    """How often a code buys at least as much as the next one; None for fewer than three numbers of codes."""
    falls = [(gains[fewer] - gains[more]) / (more - fewer) for fewer, more in pairwise(sorted(gains))]
    agreeing = [earlier >= later for earlier, later in pairwise(falls)]
    return sum(agreeing) / len(agreeing) if agreeing else None
