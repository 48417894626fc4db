"""Stage `prior`: the prior learns the codes of stage `codes`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from anytime_core.config import PriorTraining
from anytime_core.priors.base import Prior
from anytime_core.priors.blame import breach, checked
from anytime_core.training.batches import ShuffledBatches, on_device, ordered_batches
from anytime_core.training.codes import CodesDataset
from anytime_core.training.fit import Objective, fit
from anytime_core.training.online import OnlineCodes
from anytime_core.training.seeds import seed_process
from anytime_core.training.surroundings import Surroundings
from anytime_core.transfer import to_device

_DRAWN = "drawn."
"""Starts the names of inputs that are drawn at random."""


def train_prior(
    prior: Prior,
    train: CodesDataset | OnlineCodes,
    validation: CodesDataset,
    settings: PriorTraining,
    surroundings: Surroundings,
    *,
    seed: int,
    keep: Callable[[], None],
) -> None:
    """Train in place. `keep` is called whenever the bits per code in validation are the fewest so far."""
    seed_process(seed)

    def batches(done: int) -> ShuffledBatches:
        if isinstance(train, OnlineCodes):
            return train.batches(settings.batch_size, done)
        return ShuffledBatches(train, settings.batch_size, seed=seed, workers=0, done=done)

    def inputs(batch: Mapping[str, Tensor], step: int) -> dict[str, Tensor]:
        if isinstance(train, OnlineCodes):
            batch = train.encoded(batch, step)
        codes = batch["codes"][:, : prior.code_length]
        labels = {"label": batch["label"]} if "label" in batch else {}
        draws = {f"{_DRAWN}{name}": to_device(value, codes.device) for name, value in prior.draws(len(codes)).items()}
        return {"codes": codes, **labels, **draws}

    def loss(model: nn.Module, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        codes = inputs["codes"]
        draws = {name.removeprefix(_DRAWN): value for name, value in inputs.items() if name.startswith(_DRAWN)}
        found = model(codes, inputs.get("label"), *([draws] if draws else []))
        losses = checked(prior.kind, "losses", found, (len(codes),))
        if not losses.requires_grad:
            raise breach(prior.kind, "losses have no gradient")
        nats = losses.mean()
        return {"loss": nats, "bits_per_code": nats.detach() / math.log(2)}

    def validate(step: int) -> dict[str, float]:
        bits = validate_prior(
            prior, validation, limit=settings.validation_samples, batch_size=settings.batch_size
        ).bits_per_code
        return {"selection": bits, "bits_per_code": bits}

    fit(
        prior,
        Objective(inputs, loss, validate, keep),
        batches,
        settings,
        surroundings,
        betas=(0.9, 0.98),
    )


@dataclass(frozen=True)
class Likelihood:
    """The negative log-likelihood of held-out codes under a prior.

    Attributes:
        bits_per_position: [N], the mean bits of each code.
        standard_error: standard error of `bits_per_code`; for an order-agnostic prior it includes the random orders.
        samples: the number of code sequences.
    """

    bits_per_position: Tensor
    standard_error: float
    samples: int

    @property
    def bits_per_code(self) -> float:
        """The mean over positions."""
        return self.bits_per_position.mean().item()


@torch.no_grad()
def validate_prior(prior: Prior, dataset: CodesDataset, *, limit: int | None, batch_size: int) -> Likelihood:
    """The negative log-likelihood of `limit` sequences, or of all if None; for some priors an upper bound of it.

    The random orders of a bound are the same in every call.
    """
    device = next(prior.parameters()).device
    training = prior.training
    prior.eval()
    generator = torch.Generator().manual_seed(0)
    total, means = torch.zeros(prior.code_length, dtype=torch.float64), []
    for batch in ordered_batches(dataset, batch_size, limit=limit, workers=0):
        batch = on_device(batch, device)
        codes = batch["codes"][:, : prior.code_length]
        found = prior.log_prob(codes, batch.get("label"), generator)
        bits = -checked(prior.kind, "log probabilities", found, codes.shape).double().cpu() / math.log(2)
        total += bits.sum(0)
        means.append(bits.mean(1))
    prior.train(training)
    each = torch.cat(means)
    error = each.std().item() / math.sqrt(len(each)) if len(each) > 1 else 0.0
    return Likelihood(total / len(each), error, len(each))
