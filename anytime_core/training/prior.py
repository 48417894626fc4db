"""Stage `prior`: the prior learns the codes of stage `codes`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from anytime_core.config import PriorTraining
from anytime_core.priors import TransformerPrior
from anytime_core.training.batches import ordered_batches, shuffled_batches, to_device
from anytime_core.training.codes import CodesDataset
from anytime_core.training.fit import Objective, fit
from anytime_core.training.log import MetricsLog, OnProgress


def train_prior(
    prior: TransformerPrior,
    train: CodesDataset,
    validation: CodesDataset,
    settings: PriorTraining,
    *,
    seed: int,
    accelerator: Accelerator,
    log: MetricsLog,
    on_progress: OnProgress,
    keep: Callable[[], None],
) -> None:
    """Train in place; `keep` is called whenever the validation bits per code are the fewest so far."""
    torch.manual_seed(seed)

    def loss(model: nn.Module, batch: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        nats = model(batch["codes"][:, : prior.code_length], batch.get("label")).mean()
        return {"loss": nats, "bits_per_code": nats.detach() / math.log(2)}

    def validate(step: int) -> dict[str, float]:
        bits = bits_per_code(prior, validation, limit=settings.validation_samples, batch_size=settings.batch_size)
        mean = bits.mean().item()
        return {"selection": mean, "bits_per_code": mean}

    fit(
        "prior",
        prior,
        Objective(loss, validate, keep),
        shuffled_batches(train, settings.batch_size, seed=seed, workers=0),
        settings,
        betas=(0.9, 0.98),
        accelerator=accelerator,
        log=log,
        on_progress=on_progress,
    )


@torch.no_grad()
def bits_per_code(prior: TransformerPrior, dataset: CodesDataset, *, limit: int | None, batch_size: int) -> Tensor:
    """Mean negative log-likelihood of each code position in bits, [N], over `limit` sequences, all where None."""
    device = next(prior.parameters()).device
    training = prior.training
    prior.eval()
    total, samples = torch.zeros(prior.code_length, dtype=torch.float64), 0
    for batch in ordered_batches(dataset, batch_size, limit=limit, workers=0):
        batch = to_device(batch, device)
        total -= prior.log_prob(batch["codes"][:, : prior.code_length], batch.get("label")).double().sum(0).cpu()
        samples += len(batch["codes"])
    prior.train(training)
    return total / samples / math.log(2)
