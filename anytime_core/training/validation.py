"""Validation of an autoencoder while it is trained: numbers, a preview, and whether it has collapsed."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor

from anytime_core.autoencoder import OrderedAutoencoder
from anytime_core.config import CoreConfig
from anytime_core.curve import (
    ReconstructionCurve,
    average_sample,
    preview_lengths,
    reconstruction_curve,
)
from anytime_core.distributed import rank
from anytime_core.modality import Datasets, Modality, PreviewRow
from anytime_core.training.batches import Batches, ordered_batches
from anytime_core.training.collapse import findings

logger = logging.getLogger(__name__)

_PREVIEW_SAMPLES = 12
_MEAN_SAMPLES, _SMALL, _ALIKE = 1_000, 0.1, 1e-12


class Validator:
    """Measures an autoencoder on held-out samples and writes a preview of some of them, each time it is called.

    Attributes:
        mean_sample: [*sample_shape], the mean of the training samples, of a thousand of them if there are more.
        reference: the loss of reconstructing training samples as `mean_sample`, over 0.
    """

    def __init__(
        self,
        autoencoder: OrderedAutoencoder,
        modality: Modality,
        datasets: Datasets,
        config: CoreConfig,
        previews: Path,
    ) -> None:
        self.autoencoder, self.modality, self.config, self.previews = autoencoder, modality, config, previews
        settings, held_out = config.training.autoencoder, datasets.validation
        self.lengths = preview_lengths(autoencoder.code_length)
        self.batches = ordered_batches(
            held_out, settings.batch_size, limit=settings.validation_samples, workers=config.training.workers
        )
        self.shown = next(iter(ordered_batches(held_out, _PREVIEW_SAMPLES, limit=_PREVIEW_SAMPLES, workers=0)))["x"]
        seen = ordered_batches(
            datasets.train, settings.batch_size, limit=_MEAN_SAMPLES, workers=config.training.workers
        )
        self.mean_sample = average_sample(seen)
        self.reference = self._reference(seen)

    @torch.no_grad()
    def _reference(self, batches: Batches) -> float:
        """The loss of reconstructing training samples as their mean; 1 if that is no useful scale, such as 0."""
        losses, largest = [], 0.0
        for batch in batches:
            x = batch["x"]
            losses.append(self.modality.reconstruction_loss(self.mean_sample.expand_as(x), x))
            largest = max(largest, x.abs().max().item())
        self.small = largest < _SMALL
        if rank() == 0 and self.small:
            logger.warning(
                "training samples stay within %.2g of 0, and networks learn best where they fill [-1, 1]: "
                "scale them up when they are read",
                largest,
            )
        reference = torch.cat(losses).mean().item()
        if rank() == 0 and abs(reference) < _ALIKE:
            logger.warning("training samples are all alike, so there is nothing to learn: see what the data holds")
        return reference if reference > _ALIKE else 1.0

    def __call__(self, step: int) -> dict[str, float]:
        """Named numbers after `step` steps. `selection` says how good the model is: smaller is better.

        For the unordered baseline, `selection` is taken at full length only, because it is trained for nothing else.
        """
        curve = reconstruction_curve(
            self.autoencoder,
            {"loss": self.modality.reconstruction_loss},
            self.batches,
            self.lengths,
            self.mean_sample,
        )
        if rank() == 0:
            path = self.previews / f"autoencoder-{step:06d}.png"
            write_reconstructions(self.autoencoder, self.modality, self.shown, self.lengths, path)
            for finding in findings(curve, step, self.autoencoder, self.config, small=self.small):
                logger.warning("step %d: %s", step, finding)
        return self._numbers(curve)

    def _numbers(self, curve: ReconstructionCurve) -> dict[str, float]:
        truncation = self.config.autoencoder.truncation
        unordered = self.config.autoencoder.kind == "ordered" and truncation.distribution == "none"
        numbers = {"selection": curve.values["loss"][-1] if unordered else curve.mean("loss")}
        for metric, values in curve.values.items():
            numbers.update({f"{metric}@{length}": value for length, value in zip(curve.lengths, values, strict=True)})
        numbers.update({f"{metric}_of_mean_sample": value for metric, value in curve.mean_sample.items()})
        if curve.codebook_use is not None:
            numbers["codebook_use"] = curve.codebook_use
        return numbers


@torch.no_grad()
def write_reconstructions(
    autoencoder: OrderedAutoencoder, modality: Modality, x: Tensor, lengths: tuple[int, ...], path: Path
) -> None:
    """Write a picture of samples [B, *sample_shape] above their reconstructions from each number of codes."""
    device = autoencoder.device
    training = autoencoder.training
    autoencoder.eval()
    x = x.to(device)
    kept = torch.ones(len(x), autoencoder.code_length, dtype=torch.bool, device=device)
    vectors = autoencoder.quantizer(autoencoder.encode_vectors(x), kept).vectors
    rows = [PreviewRow("original", x.cpu())]
    for length in reversed(lengths):
        x_hat = autoencoder.decode_vectors(vectors, torch.full((len(x),), length, device=device))
        rows.append(PreviewRow(f"{length} codes", x_hat.cpu()))
    autoencoder.train(training)
    path.parent.mkdir(parents=True, exist_ok=True)
    modality.preview(rows, path)
