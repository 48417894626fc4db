"""One optimiser step: what is done on the device with inputs that are there, as it is or captured as a CUDA graph.

Inputs are named tensors. Their names, shapes and types are their signature; each signature has a graph of its own.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from anytime_core import capture
from anytime_core.capture import Captured
from anytime_core.config import AutoencoderTraining, PriorTraining
from anytime_core.errors import AnytimeError
from anytime_core.quantizers.base import Quantizer

if TYPE_CHECKING:  # evaluations learn by the same schedule, and need no accelerate
    from accelerate import Accelerator

logger = logging.getLogger(__name__)

Inputs = Mapping[str, Tensor]
Losses = Mapping[str, Tensor]

_WARM_UP = 3
"""How many steps of each signature are done as they are before it is captured."""

_MOST_GRAPHS = 8
"""Further signatures are not captured: each graph has memory of its own."""

_WAITED = "called a synchronizing CUDA operation"
"""The start of torch's warning."""


class Step:
    """Loss, gradients, clipping and AdamW.

    Args:
        model: the model, which is trained in place and moved to the device.
        loss: (prepared model, inputs) -> named scalars; the entry `loss` is minimised. It waits for nothing.
        accelerator: device, precision and processes.
        settings: the settings of the stage.
        betas: the betas of AdamW.

    Attributes:
        optimizer: AdamW. The state of one device or kind of step serves every other.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[nn.Module, Inputs], Losses],
        accelerator: Accelerator,
        settings: AutoencoderTraining | PriorTraining,
        betas: tuple[float, float],
    ) -> None:
        self.loss, self.accelerator, self.settings = loss, accelerator, settings
        device = accelerator.device
        on_device = capture.can_capture(device)
        if device.type == "cuda":
            _channels_last(model)
        rate = settings.learning_rate
        self.optimizer = torch.optim.AdamW(
            model.parameters(),
            # A graph reads the rate from the device.
            lr=torch.tensor(rate, device=device) if on_device else rate,
            betas=betas,
            weight_decay=settings.weight_decay,
            fused=on_device or None,
        )
        self.prepared, self.stepper = accelerator.prepare(model, self.optimizer)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next step."""
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def __call__(self, inputs: Inputs) -> Losses:
        """Do a step; returns the named scalars of the loss, on the device and without their graph."""
        with self.accelerator.autocast():
            losses = self.loss(self.prepared, inputs)
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(losses["loss"])
        self.accelerator.clip_grad_norm_(self.prepared.parameters(), self.settings.gradient_clip)
        (self.optimizer if self.accelerator.scaler is None else self.stepper).step()
        return {name: value.detach() for name, value in losses.items()}

    @contextmanager
    def capturable(self) -> Iterator[None]:
        """Within the block AdamW may be captured; elsewhere it would warn that it is not."""
        try:
            self._set_capturable(True)
            yield
        finally:
            self._set_capturable(False)

    def _set_capturable(self, capturable: bool) -> None:
        for group in self.optimizer.param_groups:
            group["capturable"] = capturable


class CapturedStep:
    """A step that is replayed as a CUDA graph, once some steps with inputs of the same signature have been done.

    Steps that cannot be captured are done as they are, after one warning; if they must be captured, that is an error.

    Args:
        step: the step.
        required: whether it must be captured.
        stage: whose step it is, for messages.
        make_room: frees memory of the device that could be missing; returns whether there was any.
    """

    def __init__(self, step: Step, *, required: bool, stage: str, make_room: Callable[[], bool]) -> None:
        self.step, self.required, self.stage, self.make_room = step, required, stage, make_room
        self.device = step.accelerator.device
        self._done: dict[Hashable, int] = {}
        self._graphs: dict[Hashable, tuple[Inputs, Captured[Losses]]] = {}
        self._given_up = False

    def __call__(self, inputs: Inputs) -> Losses:
        """Do a step. What it returns is overwritten by the next one."""
        signature = tuple((name, tuple(value.shape), value.dtype) for name, value in sorted(inputs.items()))
        if signature not in self._graphs:
            if self._is_early(signature):
                return self._warm_up(signature, inputs)
            if self._given_up or len(self._graphs) >= _MOST_GRAPHS or not self._capture(signature, inputs):
                return self.step(inputs)
        static, captured = self._graphs[signature]
        for name, value in inputs.items():
            static[name].copy_(value, non_blocking=True)
        captured.replay()
        return captured.result

    def release(self) -> bool:
        """Free the memory of graphs, which are captured again when they are needed; returns whether there were any."""
        if not self._graphs:
            return False
        self._graphs.clear()
        self.step.optimizer.zero_grad(set_to_none=True)  # gradients lie in the memory of the last graph
        return True

    def _is_early(self, signature: Hashable) -> bool:
        return not self._given_up and self._done.get(signature, 0) < _WARM_UP

    def _warm_up(self, signature: Hashable, inputs: Inputs) -> Losses:
        """Do a step as it is, on the stream of captures."""
        modules = self.step.prepared.modules()
        if any(isinstance(module, Quantizer) and module.starting for module in modules):
            return capture.warm_up(lambda: self.step(inputs), self.device)
        done = self._done[signature] = self._done.get(signature, 0) + 1
        with _noting_waits(self.device, look=done == _WARM_UP) as waits:
            losses = capture.warm_up(lambda: self.step(inputs), self.device)
        if waits:
            self._give_up(f"it waits for the device in {waits[0]}: {self._way_out}")
        return losses

    def _capture(self, signature: Hashable, inputs: Inputs) -> bool:
        """Whether a step with inputs of this signature could be captured; it is not done by this."""
        static = {name: value.clone() for name, value in inputs.items()}
        try:
            with self.step.capturable():
                captured = capture.capture(
                    lambda: self.step(static), self.device, what="a training step", way_out=self._way_out
                )
        except AnytimeError as error:
            if capture.out_of_memory(error) and (self.release() or self.make_room()):
                return self._capture(signature, inputs)
            self._give_up(str(error))
            return False
        self._graphs[signature] = (static, captured)
        return True

    @property
    def _way_out(self) -> str:
        size = f"training.{self.stage}.batch_size={self.step.settings.batch_size}"
        return f"set training.capture=false, or lower {size} if memory is short"

    def _give_up(self, why: str) -> None:
        """Go on without graphs. Raises AnytimeError if the step must be captured."""
        if self.required:
            raise AnytimeError(f"stage {self.stage}, training.capture=true: {why}")
        logger.warning("stage %s trains step by step, which is slower than by CUDA graphs: %s", self.stage, why)
        self._given_up = True
        self.release()


def _channels_last(model: nn.Module) -> None:
    """Bring convolutions of images to the memory format in which GPUs compute them."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)


@contextmanager
def _noting_waits(device: torch.device, *, look: bool) -> Iterator[list[str]]:
    """Collect where the block waits for a GPU, which a graph cannot, as `file:line`; nothing unless `look`."""
    waits: list[str] = []
    if not look or device.type != "cuda":
        yield waits
        return
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as noted:
        warnings.filterwarnings("ignore", message="Synchronization debug mode")
        warnings.filterwarnings("always", message=_WAITED)
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield waits
        finally:
            torch.cuda.set_sync_debug_mode(before)
    for one in noted:
        if str(one.message).startswith(_WAITED):
            waits.append(f"{one.filename}:{one.lineno}")
        else:
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
