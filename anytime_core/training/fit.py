"""The optimisation loop that both trained stages share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from anytime_core.config import AutoencoderTraining, PriorTraining
from anytime_core.errors import AnytimeError
from anytime_core.training.batches import to_device
from anytime_core.training.log import MetricsLog, OnProgress, Progress

_WARMUP_SHARE = 0.05
_REPORT_EVERY = 20


@dataclass(frozen=True)
class Objective:
    """What a stage minimises.

    Attributes:
        loss: (prepared model, batch, step) -> named scalars; the entry `loss` is minimised, the others are shown.
        validate: (step) -> named numbers; the model with the smallest entry `selection` is kept by `keep`.
        keep: called when a validation was the best so far.
    """

    loss: Callable[[nn.Module, Mapping[str, Tensor], int], Mapping[str, Tensor]]
    validate: Callable[[int], Mapping[str, float]]
    keep: Callable[[], None]


def fit(
    stage: str,
    model: nn.Module,
    objective: Objective,
    batches: Iterable[Mapping[str, Any]],
    settings: AutoencoderTraining | PriorTraining,
    *,
    betas: tuple[float, float],
    accelerator: Accelerator,
    log: MetricsLog,
    on_progress: OnProgress,
) -> None:
    """Train `model` for `settings.steps` steps with AdamW and a one-cycle learning rate (Smith and Topin 2018).

    Raises:
        AnytimeError: the loss is no finite number any more.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, betas=betas, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: one_cycle(step / settings.steps))
    prepared, optimizer = accelerator.prepare(model, optimizer)
    validate_at = {math.ceil(settings.steps * (i + 1) / settings.validations) for i in range(settings.validations)}
    best = math.inf
    shown: dict[str, float] = {}
    model.train()
    stream = iter(batches)
    for step in range(1, settings.steps + 1):
        batch = to_device(next(stream), accelerator.device)
        with accelerator.autocast():
            losses = objective.loss(prepared, batch, step - 1)
        optimizer.zero_grad(set_to_none=True)
        accelerator.backward(losses["loss"])
        accelerator.clip_grad_norm_(prepared.parameters(), settings.gradient_clip)
        optimizer.step()
        schedule.step()
        if step % _REPORT_EVERY == 0 or step in validate_at:
            numbers = {name: value.item() for name, value in losses.items()}
            _check_finite(numbers["loss"], "loss", stage, step, settings.learning_rate)
            shown.update(numbers, rate=float(schedule.get_last_lr()[0]))
            log.write(stage, step, shown)
        if step in validate_at:
            numbers = dict(objective.validate(step))
            log.write(stage, step, {f"validation/{name}": value for name, value in numbers.items()})
            _check_finite(numbers["selection"], "validation loss", stage, step, settings.learning_rate)
            shown["validation"] = numbers["selection"]
            if numbers["selection"] < best:
                best = numbers["selection"]
                objective.keep()
        on_progress(Progress(stage, step, settings.steps, shown))


def _check_finite(value: float, name: str, stage: str, step: int, learning_rate: float) -> None:
    if not math.isfinite(value):
        raise AnytimeError(
            f"stage {stage}: the {name} is {value} at step {step}; "
            f"lower training.{stage}.learning_rate={learning_rate:g}"
        )


def one_cycle(progress: float) -> float:
    """Factor of the peak learning rate at `progress` in [0, 1]: a linear warm-up, then half a cosine down to 1 %."""
    if progress < _WARMUP_SHARE:
        return 0.01 + 0.99 * progress / _WARMUP_SHARE
    falling = (progress - _WARMUP_SHARE) / (1 - _WARMUP_SHARE)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(falling, 1.0)))
