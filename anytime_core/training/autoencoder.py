"""Stage `autoencoder`: a warm-up at full length, then ordered training with prefix lengths drawn per sample.

Kind `pca` is fitted instead, and kind `identity` is kept as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from anytime_core.autoencoder import OrderedAutoencoder
from anytime_core.config import CoreConfig, TruncationConfig
from anytime_core.distributed import own_share, rank, summed, world_size
from anytime_core.modality import Modality, SampleDataset
from anytime_core.pca import linear_networks, principal_components, scalar_codebooks
from anytime_core.training.batches import Batches, ShuffledBatches, ordered_batches
from anytime_core.training.fit import Objective, fit
from anytime_core.training.log import Progress
from anytime_core.training.seeds import seed_process, step_generator
from anytime_core.training.surroundings import Surroundings
from anytime_core.training.validation import Validator
from anytime_core.transfer import to_device
from anytime_core.truncation import draw_lengths, length_probabilities

_MEAN_LOSS_RATE = 0.05
_COMPONENT_SAMPLES, _COMPONENT_BATCH = 20_000, 1_000


class OrderedLoss:
    """Loss of an ordered autoencoder on a batch: reconstruction at drawn prefix lengths plus the quantizer's loss.

    Reconstruction is the modality's loss divided by `reference`, the loss of the mean sample, so that it is of the
    order of the quantizer's loss for any scale of the data. Otherwise, if errors are small, only the commitment would
    count, which is smallest when the codes say nothing.

    Args:
        modality: the modality, whose `reconstruction_loss` is used.
        config: how prefix lengths are drawn and combined.
        code_length: N.
        steps: the number of steps of the stage; the warm-up is a share of them.
        seed: the prefix lengths of each step follow from it.
        reference: the loss of reconstructing every sample as the mean sample, over 0.
        device: the device of the batches.

    Attributes:
        mean_losses: [N], the running mean loss of each length.
    """

    def __init__(
        self,
        modality: Modality,
        config: TruncationConfig,
        code_length: int,
        steps: int,
        *,
        seed: int,
        reference: float = 1.0,
        device: torch.device | None = None,
    ) -> None:
        self.modality, self.config, self.seed, self.reference = modality, config, seed, reference
        self.probabilities = length_probabilities(config.distribution, code_length, ratio=config.ratio)
        self.mean_losses = torch.zeros(code_length, device=device)
        self.warmup_steps = steps if config.distribution == "none" else round(config.warmup * steps)

    def lengths(self, batch: int, step: int) -> Tensor:
        """The prefix lengths of each decoding of this step, [J, B]; with two decodings the first is at full length."""
        full = torch.full((batch,), len(self.probabilities))
        if step < self.warmup_steps:
            return full.unsqueeze(0)
        share = self.config.decode == "share"
        drawn = own_share(
            draw_lengths(
                self.probabilities,
                batch * world_size(),
                full_share=self.config.full_share if share else 0.0,
                generator=step_generator(self.seed, "lengths", step),
            )
        )
        return drawn.unsqueeze(0) if share else torch.stack([full, drawn])

    def weights(self, decodings: int) -> tuple[float, ...]:
        """The weight of each of J decodings; they sum to one."""
        return (1.0,) if decodings == 1 else (self.config.full_weight, 1 - self.config.full_weight)

    def __call__(self, autoencoder: nn.Module, x: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Named scalars: `loss`, the sum that is minimised, and its parts.

        Args:
            autoencoder: an `OrderedAutoencoder`.
            x: [B, *sample_shape].
            lengths: [J, B], from `lengths`.
        """
        decodings = lengths.unbind()
        out = autoencoder(x, decodings)
        reconstruction = x.new_zeros(())
        for weight, kept, x_hat in zip(self.weights(len(decodings)), decodings, out.x_hat, strict=True):
            losses = self.modality.reconstruction_loss(x_hat.float(), x) / self.reference
            if self.config.balance:
                losses = losses * self._relative_weights(kept, losses.detach())
            reconstruction = reconstruction + weight * losses.mean()
        quantizer = out.quantizer_loss.mean()
        return {
            "loss": reconstruction + quantizer,
            "reconstruction": reconstruction.detach(),
            "quantizer": quantizer.detach(),
        }

    def _relative_weights(self, lengths: Tensor, losses: Tensor) -> Tensor:
        """Weights [B]: the smallest running mean loss of any length, divided by that of each sample's length."""
        means = self.mean_losses
        counts = summed(torch.zeros_like(means).index_add_(0, lengths - 1, torch.ones_like(losses)))
        batch_means = summed(torch.zeros_like(means).index_add_(0, lengths - 1, losses)) / counts.clamp(min=1)
        followed = torch.where(means > 0, means.lerp(batch_means, _MEAN_LOSS_RATE), batch_means)
        means.copy_(torch.where(counts > 0, followed, means))
        return torch.where(means > 0, means, torch.inf).min() / means[lengths - 1].clamp(min=torch.finfo().tiny)


def train_autoencoder(
    autoencoder: OrderedAutoencoder,
    modality: Modality,
    dataset: SampleDataset,
    config: CoreConfig,
    surroundings: Surroundings,
    *,
    validate: Validator,
    keep: Callable[[], None],
) -> int:
    """Train in place. `keep` is called whenever `validate` finds that the model is the best so far.

    Returns:
        The number of steps.
    """
    settings, truncation, seed = config.training.autoencoder, config.autoencoder.truncation, config.seed
    seed_process(seed)
    loss = OrderedLoss(
        modality,
        truncation,
        autoencoder.code_length,
        settings.steps,
        seed=seed,
        reference=validate.reference,
        device=surroundings.accelerator.device,
    )

    def inputs(batch: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        x = modality.augment(batch["x"], step_generator(seed, "augmentation", step, rank()))
        return {"x": x, "lengths": to_device(loss.lengths(len(x), step), x.device)}

    fit(
        autoencoder,
        Objective(
            inputs,
            lambda model, inputs: loss(model, inputs["x"], inputs["lengths"]),
            validate,
            keep,
            {"mean_losses": loss.mean_losses},
        ),
        lambda done: ShuffledBatches(
            dataset, settings.batch_size, seed=seed, workers=config.training.workers, done=done
        ),
        settings,
        surroundings,
        betas=(0.9, 0.99),
    )
    return settings.steps


def fit_principal_components(autoencoder: OrderedAutoencoder, dataset: SampleDataset, workers: int) -> None:
    """Fit linear networks and codebooks in place, in constant memory.

    They see at most 20,000 training samples, evenly spread and not augmented.
    """
    batches = _component_batches(dataset, autoencoder.code_length, workers)
    components, mean = principal_components(batches, autoencoder.code_length)
    autoencoder.encoder, autoencoder.decoder = linear_networks(components, mean)
    if autoencoder.spec.size is not None:
        with torch.no_grad():
            coefficients = torch.cat([autoencoder.encode_vectors(batch["x"]).squeeze(-1) for batch in batches])
        autoencoder.quantizer.place(scalar_codebooks(coefficients, autoencoder.spec.size).unsqueeze(-1))


def keep_autoencoder(
    autoencoder: OrderedAutoencoder, surroundings: Surroundings, *, validate: Validator, keep: Callable[[], None]
) -> int:
    """Validate and keep an autoencoder that needs no training; replaces `train_autoencoder`.

    Returns:
        The number of steps: one.
    """
    autoencoder.to(surroundings.accelerator.device)
    numbers = validate(1)
    surroundings.log.write("autoencoder", 1, {f"validation/{name}": value for name, value in numbers.items()})
    if rank() == 0:
        keep()
    surroundings.on_progress(Progress("autoencoder", 1, 1, {"validation": numbers["selection"]}))
    return 1


def _component_batches(dataset: SampleDataset, code_length: int, workers: int) -> Batches:
    """Batches of one size, which is at least the number of components."""
    samples = min(max(_COMPONENT_SAMPLES, code_length), len(dataset))
    number = max(1, samples // max(_COMPONENT_BATCH, code_length))
    size = samples // number
    return ordered_batches(dataset, size, limit=number * size, workers=workers, whole=True)
