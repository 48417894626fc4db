"""The optimisation loop that both trained stages share."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from anytime_core.config import AutoencoderTraining, PriorTraining
from anytime_core.display import shown
from anytime_core.distributed import rank, summed, synchronize_norms, world_size
from anytime_core.errors import AnytimeError, UsageError
from anytime_core.exhaustion import explained
from anytime_core.training.batches import ShuffledBatches
from anytime_core.training.checkpoints import Checkpoint
from anytime_core.training.device_batches import DeviceBatches
from anytime_core.training.log import Progress
from anytime_core.training.seeds import seed_process
from anytime_core.training.step import CapturedStep, Step

if TYPE_CHECKING:  # evaluations learn by the same schedule, and need no accelerate
    from anytime_core.training.surroundings import Surroundings

_WARMUP_SHARE = 0.05
_REPORT_EVERY = 20
"""Between two reports nothing waits for the device."""

_SETTLED = 6
"""After how many steps it is known what memory they need."""


@dataclass(frozen=True)
class Objective:
    """What a stage minimises.

    Attributes:
        inputs: (batch on the device, step) -> what `loss` takes, on the device. What the host draws at random is drawn
            here: from torch's global random numbers, or following from the step.
        loss: (prepared model, inputs) -> named scalars; the entry `loss` is minimised, the others are shown. It only
            computes on the device and waits for nothing, so that it can be captured; which shapes it works on follows
            from the shapes of its inputs.
        validate: (step) -> named numbers; the model with the smallest entry `selection` is kept.
        keep: called to keep the model when a validation was the best so far.
        state: tensors that `loss` changes in place, for checkpoints.
    """

    inputs: Callable[[Mapping[str, Tensor], int], Mapping[str, Tensor]]
    loss: Callable[[nn.Module, Mapping[str, Tensor]], Mapping[str, Tensor]]
    validate: Callable[[int], Mapping[str, float]]
    keep: Callable[[], None]
    state: Mapping[str, Tensor] = field(default_factory=dict)


def fit(
    model: nn.Module,
    objective: Objective,
    batches: Callable[[int], ShuffledBatches],
    settings: AutoencoderTraining | PriorTraining,
    surroundings: Surroundings,
    *,
    betas: tuple[float, float],
) -> None:
    """Train `model` for `settings.steps` steps with AdamW and a one-cycle learning rate (Smith and Topin 2018).

    Args:
        model: the model, which is trained in place.
        objective: what is minimised.
        batches: number of steps done -> the batches of the steps after.
        settings: the settings of the stage.
        surroundings: the surroundings of the stage.
        betas: the betas of AdamW.

    Raises:
        AnytimeError: the loss is no longer finite, or memory ran out.
        InterruptedTrainingError: Ctrl-C or SIGTERM came; there is a checkpoint.
    """
    _Fit(model, objective, settings, surroundings, betas).run(batches)


class _Fit:
    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        settings: AutoencoderTraining | PriorTraining,
        surroundings: Surroundings,
        betas: tuple[float, float],
    ) -> None:
        self.model, self.objective, self.settings, self.surroundings = model, objective, settings, surroundings
        self.accelerator, self.stage = surroundings.accelerator, surroundings.checkpoints.stage
        if world_size() > 1:
            synchronize_norms(model)
        self.step = Step(model, objective.loss, self.accelerator, settings, betas)
        self.optimizer = self.step.optimizer
        self.rate = settings.learning_rate
        self.captured: CapturedStep | None = None
        if surroundings.captures:
            self.captured = CapturedStep(
                self.step, required=surroundings.capture is True, stage=self.stage, make_room=self._release_data
            )
        self.data: DeviceBatches | None = None
        self.best = math.inf
        self.shown: dict[str, float] = {}

    def run(self, batches: Callable[[int], ShuffledBatches]) -> None:
        settings = self.settings
        validate_at = {math.ceil(settings.steps * (i + 1) / settings.validations) for i in range(settings.validations)}
        resumed, done = self.surroundings.resumed, self.surroundings.done
        self.model.train()
        self.data = data = DeviceBatches(batches(done), self.accelerator.device)
        stream = iter(data)  # which draws a random number
        if resumed:
            self._restore(resumed)
        for step in range(done + 1, settings.steps + 1):
            with self._explained(f"step {step}"):
                losses = self._step(next(stream), step)
            if step == done + _SETTLED:
                data.keep()
            if step % _REPORT_EVERY == 0 or step in validate_at:
                self._report(losses, step)
            if step in validate_at:
                self._validate(step)
            self.surroundings.on_progress(Progress(self.stage, step, settings.steps, self.shown))
            if world_size() == 1 or step % _REPORT_EVERY == 0 or step == settings.steps:
                self.surroundings.after_step(
                    step,
                    functools.partial(self._finite_state, step),
                    last=step == settings.steps,
                    best=self.best if math.isfinite(self.best) else None,
                    scaler=self.accelerator.scaler.state_dict() if self.accelerator.scaler is not None else None,
                )

    def _step(self, batch: Mapping[str, Any], step: int) -> Mapping[str, Tensor]:
        self.rate = self.settings.learning_rate * one_cycle((step - 1) / self.settings.steps)
        self.step.set_rate(self.rate)
        inputs = self.objective.inputs(batch, step - 1)
        do_step = self.captured or self.step
        while True:
            try:
                return do_step(inputs)
            except torch.OutOfMemoryError:
                if world_size() > 1 or not self._make_room():
                    raise

    def _make_room(self) -> bool:
        """Free memory of the device that the training can do without; returns whether there was any."""
        return (self.captured is not None and self.captured.release()) or self._release_data()

    def _release_data(self) -> bool:
        """Free the memory of data that is kept on the device; returns whether there was any."""
        return self.data is not None and self.data.release()

    def _report(self, losses: Mapping[str, Tensor], step: int) -> None:
        means = summed(torch.stack([value.float() for value in losses.values()])) / world_size()
        numbers = dict(zip(losses, means.tolist(), strict=True))
        self._check_finite(numbers["loss"], "loss", step)
        numbers["rate"] = self.rate
        self.shown.update(numbers)
        self.surroundings.log.write(self.stage, step, numbers)

    def _validate(self, step: int) -> None:
        self.surroundings.on_progress(Progress(self.stage, step, self.settings.steps, self.shown, "validating"))
        with self._explained(f"validation after step {step}"):
            numbers = dict(self.objective.validate(step))
        self.surroundings.log.write(self.stage, step, {f"validation/{name}": value for name, value in numbers.items()})
        self._check_finite(numbers["selection"], "validation loss", step)
        self.shown["validation"] = numbers["selection"]
        if numbers["selection"] < self.best:
            self.best = numbers["selection"]
            if rank() == 0:
                self.objective.keep()

    def _finite_state(self, step: int) -> dict[str, Tensor]:
        """Everything that further training depends on. Raises AnytimeError if a weight is not finite."""
        state = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        state |= {f"objective.{name}": value for name, value in self.objective.state.items()}
        for number, moments in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer.{number}.{name}": value for name, value in moments.items()}
        state["random.cpu"] = torch.get_rng_state()
        if self.accelerator.device.type == "cuda":
            state["random.cuda"] = torch.cuda.get_rng_state(self.accelerator.device)
        for name, parameter in self.model.named_parameters():
            if not parameter.isfinite().all():
                self._check_finite(math.nan, f"weight {name}", step)
        return state

    def _restore(self, checkpoint: Checkpoint) -> None:
        position, state = checkpoint.position, checkpoint.state
        try:
            self.model.load_state_dict(_below("model.", state))
            for name, value in self.objective.state.items():
                value.copy_(state[f"objective.{name}"])
            parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
            moments: dict[int, dict[str, Tensor]] = {}
            for name, value in _below("optimizer.", state).items():
                number, _, moment = name.partition(".")
                moments.setdefault(int(number), {})[moment] = _laid_out(value, parameters[int(number)])
            self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
            if self.accelerator.scaler is not None and position.scaler:
                self.accelerator.scaler.load_state_dict(position.scaler)
            if rank() == 0:
                torch.set_rng_state(state["random.cpu"])
                if self.accelerator.device.type == "cuda" and "random.cuda" in state:
                    torch.cuda.set_rng_state(state["random.cuda"], self.accelerator.device)
            else:
                seed_process(torch.initial_seed() + position.step)
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            first_line = str(error).partition("\n")[0]
            raise UsageError(
                f"the checkpoint of step {position.step} is of another model ({shown(first_line)}): leave the config "
                f"as it was, or start the stage again with anytime train --run "
                f"{shown(self.surroundings.checkpoints.run)} --stage {self.stage} --force"
            ) from error
        self.best = position.best if position.best is not None else math.inf

    def _explained(self, work: str) -> contextlib.AbstractContextManager[None]:
        """Turn running out of memory into an error that says what to lower."""
        return explained(
            f"stage {self.stage}, {work}",
            memory=f"lower training.{self.stage}.batch_size={self.settings.batch_size}",
            peers=f"go on with anytime train --resume {shown(self.surroundings.checkpoints.run)}",
        )

    def _check_finite(self, value: float, name: str, step: int) -> None:
        if math.isfinite(value):
            return
        key, rate = f"training.{self.stage}.learning_rate", self.settings.learning_rate
        advice = f"lower {key}={rate:g}"
        good = self.surroundings.checkpoints.last_step
        if good is not None:
            run = self.surroundings.checkpoints.run
            advice = f"go on from step {good} with anytime train --resume {run} --set {key}={rate / 4:g}"
        raise AnytimeError(f"stage {self.stage}: the {name} is {value} at step {step}; {advice}")


def _below(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _laid_out(moment: Tensor, parameter: Tensor) -> Tensor:
    """A moment of a parameter with its strides, which the fused optimiser takes for granted; counts are as they are."""
    if moment.shape != parameter.shape:
        return moment
    return torch.empty_like(parameter, device=moment.device, dtype=moment.dtype, requires_grad=False).copy_(moment)


def one_cycle(progress: float) -> float:
    """Factor of the peak learning rate at `progress` in [0, 1]: a linear warm-up, then half a cosine down to 1 %."""
    if progress < _WARMUP_SHARE:
        return 0.01 + 0.99 * progress / _WARMUP_SHARE
    falling = (progress - _WARMUP_SHARE) / (1 - _WARMUP_SHARE)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(falling, 1.0)))
