"""How long a training will take, known after its first ten steps.

These steps are timed. Later stages, such as the prior while the autoencoder learns, are tried on a few samples. None of
this changes what is learned: the state of the random numbers is restored, and the models that are tried are thrown
away.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from anytime_core.autoencoder import OrderedAutoencoder
from anytime_core.curve import preview_lengths, validated_lengths
from anytime_core.distributed import world_size
from anytime_core.record import Stage
from anytime_core.training.batches import ordered_batches, spread
from anytime_core.training.log import Progress
from anytime_core.training.preparation import Preparation

_STEPS = 10
_UNTIMED = 6
"""The first steps on a GPU open libraries and are captured; they are not timed."""
_TRIED = 16
"""The number of samples, or code sequences, that are tried at a time."""
_SHORT = 0.5
"""If a step of the prior takes fewer seconds, it is tried at its full batch size."""


@dataclass(frozen=True)
class _Costs:
    """Seconds per sample without gradients: to encode, to decode with the loss, and to decode with all measures."""

    encode: float
    decode: float
    measure: float


class Forecaster:
    """Adds a forecast to the progress of a training, once, at the tenth step of its first long stage.

    Args:
        training: the training, checked by the time of its first step.
    """

    def __init__(self, training: Preparation) -> None:
        self.training = training
        self._stage: Stage | None = None
        self._seen, self._first, self._began = 0, 0, 0.0
        self._told = False

    def completed(self, progress: Progress) -> Progress:
        """`progress`, with the forecast if it is time for it."""
        if self._told or progress.activity:
            return progress
        if progress.stage != self._stage:
            self._stage, self._seen = progress.stage, 0
        self._seen += 1
        untimed = _UNTIMED if self.training.device.type == "cuda" else 0
        if self._seen == untimed + 1:
            self._first, self._began = progress.step, self._now()
        if self._seen < untimed + _STEPS:
            return progress
        self._told = True
        pace = (self._now() - self._began) / (progress.step - self._first)
        return replace(progress, forecast=self._forecast(progress.stage, progress.step, progress.steps, pace))

    def _forecast(self, stage: Stage, step: int, steps: int, pace: float) -> dict[Stage, float]:
        """Seconds that each stage from `stage` on will take; `stage` is at `step` and takes `pace` seconds per step."""
        stages = self.training.stages[list(self.training.stages).index(stage) :]
        device = self.training.device
        with torch.random.fork_rng([device.index] if device.type == "cuda" else []):
            return {
                name: self._running(name, step, steps, pace) if name == stage else self._coming(name) for name in stages
            }

    def _running(self, stage: Stage, step: int, steps: int, pace: float) -> float:
        settings = self.training.config.core.training
        if stage == "codes":
            return (steps - step) * pace
        if stage == "prior":
            return (steps - step) * pace + self._prior_validations(pace)
        truncation = self.training.config.core.autoencoder.truncation
        costs, later = self._costs, pace
        if truncation.decode == "both" and truncation.distribution != "none":
            # After the warm-up each sample is decoded twice.
            later *= (costs.encode + 2 * costs.decode) / (costs.encode + costs.decode)
        warm = max(0, round(truncation.warmup * steps) - step)
        own = settings.autoencoder
        validation, length = len(self.training.datasets.validation), self.training.untrained.code_length
        each = costs.encode + len(preview_lengths(length)) * costs.decode
        last = costs.encode + len(validated_lengths(length)) * costs.measure
        return (
            warm * pace
            + max(0, steps - step - warm) * later
            + own.validations * min(own.validation_samples, validation) * each
            + min(own.final_samples or validation, validation) * last
        )

    def _coming(self, stage: Stage) -> float:
        settings, datasets = self.training.config.core.training, self.training.datasets
        if stage == "codes":
            train, validation = (
                len(spread(len(part), settings.codes.samples)) for part in (datasets.train, datasets.validation)
            )
            samples = (0 if settings.codes.online else settings.codes.copies * train) + validation
            return samples * self._costs.encode / world_size()
        pace = self._prior_step()
        encoding = self._costs.encode * settings.prior.batch_size / world_size() if settings.codes.online else 0.0
        return settings.prior.steps * (pace + encoding) + self._prior_validations(pace)

    def _prior_validations(self, pace: float) -> float:
        """Seconds of a prior's validations, if steps take `pace` seconds and a third of that without gradients."""
        settings = self.training.config.core.training.prior
        everything = self._validation_sequences
        sequences = settings.validations * min(settings.validation_samples, everything) + everything
        return sequences * pace / 3 / settings.batch_size

    @cached_property
    def _validation_sequences(self) -> int:
        if self.training.stages[0] == "prior":  # which needs no data
            return len(self.training.codes(self.training.untrained, "validation"))
        codes = self.training.config.core.training.codes
        return len(spread(len(self.training.datasets.validation), codes.samples))

    @cached_property
    def _autoencoder(self) -> OrderedAutoencoder:
        return copy.deepcopy(self.training.untrained).to(self.training.device).eval()

    @cached_property
    @torch.no_grad()
    def _costs(self) -> _Costs:
        autoencoder, modality = self._autoencoder, self.training.modality
        batches = ordered_batches(self.training.datasets.validation, _TRIED, limit=_TRIED, workers=0)
        x = next(iter(batches))["x"].to(self.training.device)
        kept = torch.ones(len(x), autoencoder.code_length, dtype=torch.bool, device=x.device)
        full = torch.full((len(x),), autoencoder.code_length, device=x.device)
        measures = [modality.reconstruction_loss, *modality.metrics().values()]

        def encode() -> Tensor:
            return autoencoder.quantizer(autoencoder.encode_vectors(x), kept).vectors

        vectors = encode()

        def decode() -> Tensor:
            return autoencoder.decode_vectors(vectors, full)

        x_hat = decode()
        works: list[Callable[[], Tensor]] = [decode, *(partial(measure, x_hat, x) for measure in measures)]
        decoding, *measuring = (self._seconds(work) / len(x) for work in works)
        return _Costs(self._seconds(encode) / len(x), decoding + measuring[0], decoding + sum(measuring))

    def _prior_step(self) -> float:
        """Seconds of a training step of the prior, tried on random codes."""
        labelled = bool(self.training.classes)
        prior = self.training.prior(self._autoencoder, labelled=labelled).to(self.training.device)
        optimizer = torch.optim.AdamW(prior.parameters(), lr=0.0)

        def step(size: int) -> Callable[[], None]:
            codes = torch.randint(prior.codebook_size, (size, prior.code_length), device=self.training.device)
            labels = torch.zeros(size, dtype=torch.int64, device=self.training.device) if prior.classes else None

            def make() -> None:
                with self.training.accelerator.autocast():
                    loss = prior(codes, labels).mean()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()

            return make

        own = -(-self.training.config.core.training.prior.batch_size // world_size())
        few = min(own, _TRIED)
        step(few)()
        seconds = self._seconds(step(few)) * own / few
        return self._seconds(step(own)) if few < own and seconds < _SHORT else seconds

    def _seconds(self, work: Callable[[], object]) -> float:
        """The seconds that `work` takes; it must have been done once before."""
        began = self._now()
        work()
        return self._now() - began

    def _now(self) -> float:
        """The time at which the device has done all work so far."""
        if self.training.device.type == "cuda":
            torch.cuda.synchronize(self.training.device)
        return time.perf_counter()
