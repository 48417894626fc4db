"""Stage `autoencoder`: a warm-up at full length, then ordered training with prefix lengths drawn per sample.

Kind `pca` is fitted instead, and kind `identity` is kept as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader

from anytime_core.autoencoder import OrderedAutoencoder
from anytime_core.config import CoreConfig, TruncationConfig
from anytime_core.evaluation.reconstruction import ReconstructionCurve, preview_lengths, reconstruction_curve
from anytime_core.modality import Datasets, Modality, PreviewRow, SampleDataset
from anytime_core.pca import linear_networks, principal_components, scalar_codebooks
from anytime_core.quantizers import VectorQuantizer
from anytime_core.training.batches import ordered_batches, shuffled_batches
from anytime_core.training.fit import Objective, fit
from anytime_core.training.log import MetricsLog, OnProgress, Progress
from anytime_core.truncation import draw_lengths, length_probabilities

_PREVIEW_SAMPLES = 12
_MEAN_LOSS_RATE = 0.05
_COMPONENT_SAMPLES, _COMPONENT_BATCH = 20_000, 1_000


class OrderedLoss:
    """Loss of an ordered autoencoder on a batch: reconstruction at drawn prefix lengths plus the quantizer's own.

    Args:
        modality: whose `reconstruction_loss` is used.
        config: how prefix lengths are drawn and combined.
        code_length: N.
        steps: of the stage; the warm-up is a share of them.
        generator: source of the prefix lengths, on the CPU.
    """

    def __init__(
        self, modality: Modality, config: TruncationConfig, code_length: int, steps: int, generator: torch.Generator
    ) -> None:
        self.modality, self.config, self.generator = modality, config, generator
        self.probabilities = length_probabilities(config.distribution, code_length, ratio=config.ratio)
        self.mean_losses = torch.zeros(code_length)
        self.warmup_steps = steps if config.distribution == "none" else round(config.warmup * steps)

    def lengths(self, batch: int, step: int) -> list[tuple[float, Tensor]]:
        """Weights, summing to one, and prefix lengths [B] of the decodings of this step."""
        full = torch.full((batch,), len(self.probabilities))
        if step < self.warmup_steps:
            return [(1.0, full)]
        if self.config.decode == "share":
            drawn = draw_lengths(self.probabilities, batch, full_share=self.config.full_share, generator=self.generator)
            return [(1.0, drawn)]
        prefixes = draw_lengths(self.probabilities, batch, generator=self.generator)
        return [(self.config.full_weight, full), (1 - self.config.full_weight, prefixes)]

    def __call__(self, autoencoder: nn.Module, batch: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        """Named scalars: `loss`, the sum to minimise, and its parts."""
        x = batch["x"]
        decodings = self.lengths(len(x), step)
        out = autoencoder(x, [lengths.to(x.device) for _, lengths in decodings])
        reconstruction = x.new_zeros(())
        for (weight, lengths), x_hat in zip(decodings, out.x_hat, strict=True):
            losses = self.modality.reconstruction_loss(x_hat.float(), x)
            if self.config.balance:
                losses = losses * self._relative_weights(lengths.to(x.device), losses.detach())
            reconstruction = reconstruction + weight * losses.mean()
        quantizer = out.quantizer_loss.mean()
        return {
            "loss": reconstruction + quantizer,
            "reconstruction": reconstruction.detach(),
            "quantizer": quantizer.detach(),
        }

    def _relative_weights(self, lengths: Tensor, losses: Tensor) -> Tensor:
        """[B] weights: the smallest running mean loss of any length over that of each sample's length."""
        means = self.mean_losses = self.mean_losses.to(losses.device)
        counts = torch.zeros_like(means).index_add_(0, lengths - 1, torch.ones_like(losses))
        batch_means = torch.zeros_like(means).index_add_(0, lengths - 1, losses) / counts.clamp(min=1)
        followed = torch.where(means > 0, means.lerp(batch_means, _MEAN_LOSS_RATE), batch_means)
        means.copy_(torch.where(counts > 0, followed, means))
        return torch.where(means > 0, means, torch.inf).min() / means[lengths - 1].clamp(min=torch.finfo().tiny)


def train_autoencoder(
    autoencoder: OrderedAutoencoder,
    modality: Modality,
    datasets: Datasets,
    config: CoreConfig,
    *,
    accelerator: Accelerator,
    log: MetricsLog,
    on_progress: OnProgress,
    keep: Callable[[], None],
    previews: Path,
) -> int:
    """Train in place; `keep` is called whenever the mean validation loss over five budgets is the best so far.

    The validation loss of the unordered baseline is taken at full length only, which is all it is trained for.
    Each validation writes a preview into `previews`: originals over reconstructions at five budgets.

    Returns:
        The number of steps.
    """
    settings, truncation, seed = config.training.autoencoder, config.autoencoder.truncation, config.seed
    torch.manual_seed(seed)
    augmentation = torch.Generator().manual_seed(seed)
    loss = OrderedLoss(
        modality, truncation, autoencoder.code_length, settings.steps, torch.Generator().manual_seed(seed + 1)
    )

    def augmented_loss(model: nn.Module, batch: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        return loss(model, {**batch, "x": modality.augment(batch["x"], augmentation)}, step)

    fit(
        "autoencoder",
        autoencoder,
        Objective(augmented_loss, _validation(autoencoder, modality, datasets.validation, config, previews), keep),
        shuffled_batches(datasets.train, settings.batch_size, seed=seed, workers=config.training.workers),
        settings,
        betas=(0.9, 0.99),
        accelerator=accelerator,
        log=log,
        on_progress=on_progress,
    )
    return settings.steps


def fit_principal_components(autoencoder: OrderedAutoencoder, dataset: SampleDataset, workers: int) -> None:
    """Fit linear networks and codebooks in place, in constant memory.

    They see at most 20,000 training samples, spread over the set and not augmented.
    """
    batches = _component_batches(dataset, autoencoder.code_length, workers)
    components, mean = principal_components(batches, autoencoder.code_length)
    autoencoder.encoder, autoencoder.decoder = linear_networks(components, mean)
    if isinstance(autoencoder.quantizer, VectorQuantizer):
        with torch.no_grad():
            coefficients = torch.cat([autoencoder.encode_vectors(batch["x"]).squeeze(-1) for batch in batches])
            codebooks = scalar_codebooks(coefficients, autoencoder.quantizer.codebook.shape[1])
            autoencoder.quantizer.codebook.copy_(codebooks.unsqueeze(-1))


def keep_autoencoder(
    autoencoder: OrderedAutoencoder,
    modality: Modality,
    datasets: Datasets,
    config: CoreConfig,
    *,
    accelerator: Accelerator,
    log: MetricsLog,
    on_progress: OnProgress,
    keep: Callable[[], None],
    previews: Path,
) -> int:
    """In place of `train_autoencoder` where there is nothing to train: validates and keeps what there is.

    Returns:
        The number of steps: one.
    """
    autoencoder.to(accelerator.device)
    numbers = _validation(autoencoder, modality, datasets.validation, config, previews)(1)
    log.write("autoencoder", 1, {f"validation/{name}": value for name, value in numbers.items()})
    keep()
    on_progress(Progress("autoencoder", 1, 1, {"validation": numbers["selection"]}))
    return 1


def _component_batches(dataset: SampleDataset, code_length: int, workers: int) -> DataLoader:
    """Batches of one size, none smaller than the number of components to be found in it."""
    samples = min(max(_COMPONENT_SAMPLES, code_length), len(dataset))
    number = max(1, samples // max(_COMPONENT_BATCH, code_length))
    size = samples // number
    return ordered_batches(dataset, size, limit=number * size, workers=workers)


def _validation(
    autoencoder: OrderedAutoencoder, modality: Modality, dataset: SampleDataset, config: CoreConfig, previews: Path
) -> Callable[[int], dict[str, float]]:
    """A function of the step that measures the autoencoder on held-out samples and writes a preview of them."""
    settings = config.training.autoencoder
    unordered = config.autoencoder.kind == "ordered" and config.autoencoder.truncation.distribution == "none"
    lengths = preview_lengths(autoencoder.code_length)
    held_out = ordered_batches(
        dataset, settings.batch_size, limit=settings.validation_samples, workers=config.training.workers
    )
    shown = next(iter(ordered_batches(dataset, _PREVIEW_SAMPLES, limit=_PREVIEW_SAMPLES, workers=0)))["x"]

    def validate(step: int) -> dict[str, float]:
        curve = reconstruction_curve(autoencoder, {"loss": modality.reconstruction_loss}, held_out, lengths)
        write_reconstructions(autoencoder, modality, shown, lengths, previews / f"autoencoder-{step:06d}.png")
        return _numbers(curve, unordered=unordered)

    return validate


def _numbers(curve: ReconstructionCurve, *, unordered: bool) -> dict[str, float]:
    numbers = {"selection": curve.values["loss"][-1] if unordered else curve.mean("loss")}
    for metric, values in curve.values.items():
        numbers.update({f"{metric}@{length}": value for length, value in zip(curve.lengths, values, strict=True)})
    if curve.codebook_use is not None:
        numbers["codebook_use"] = curve.codebook_use
    return numbers


@torch.no_grad()
def write_reconstructions(
    autoencoder: OrderedAutoencoder, modality: Modality, x: Tensor, lengths: tuple[int, ...], path: Path
) -> None:
    """A picture of samples [B, *sample_shape] over their reconstructions from each number of codes."""
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
