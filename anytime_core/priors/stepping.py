"""Drawing one code after another from a causal prior. P is the number of parameters of one code."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import torch
from torch import Tensor

from anytime_core.capture import require_capture
from anytime_core.errors import UsageError

if TYPE_CHECKING:
    from anytime_core.priors.base import Prior

Position = int | Tensor
"""The position of a code: a number, or in captured work int64 [1] on the device."""

UNCAPTURED = "use a smaller --batch-size, or --engine eager"
"""What to do where the work of an engine cannot be captured."""


def require_graphs(device: torch.device) -> None:
    """Raise UsageError if engine `graph` cannot run on this device."""
    require_capture(device, what="engine 'graph'", way_out="use --device cuda, or --engine eager")


def require_cpu(engine: str, device: torch.device) -> None:
    """Raise UsageError if the device on which `engine` would run is not the CPU."""
    if device.type != "cpu":
        raise UsageError(f"engine '{engine}' runs on the CPU, not on '{device}': use --device cpu, or --engine eager")


class Stepper(Protocol):
    """One batch of code sequences that is being drawn, from the first code to the last.

    It shares no state: any number of steppers of one engine may be open at a time, in any threads.
    """

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        """Parameters [B, P] of the code at `position`, which counts up from 0.

        Args:
            position: how many codes have been drawn.
            previous: the code of each sequence at `position - 1`, [B]; None at position 0.

        Returns:
            The parameters, which may be a buffer that the next step overwrites.
        """
        ...

    def keep(self, rows: Tensor) -> None:
        """Go on with only the sequences `rows` of the batch: their numbers, in ascending order."""
        ...


class PriorEngine(ABC):
    """A way to run a prior.

    Args:
        prior: the prior, in evaluation mode, on the device on which it runs.
        precision: one of `precisions`.

    Attributes:
        name: its name for `--engine`.
        precisions: the precisions that it has.

    Raises:
        UsageError: it does not have this precision.
    """

    name: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]] = ("float32",)

    def __init__(self, prior: Prior, precision: str = "float32") -> None:
        if precision not in self.precisions:
            known = ", ".join(self.precisions)
            raise UsageError(f"engine '{self.name}' has no precision '{precision}': use {known}")
        self.prior: Any = prior
        self.precision = precision


class Engine(PriorEngine):
    """A way to run a causal prior code by code. The batches that it opens share its weights and nothing else."""

    @abstractmethod
    def open(self, labels: Tensor | None, batch: int, length: int) -> Stepper:
        """A stepper of a new batch.

        Args:
            labels: [B] on the prior's device, None for an unconditional prior.
            batch: B.
            length: the most codes that will be drawn.
        """


class CapturableStepper(Stepper, Protocol):
    """A stepper with static buffers that never waits for the device, so that its steps can be captured and replayed."""

    def step_at(self, position: Tensor, previous: Tensor) -> Tensor:
        """As `step`, but the position is read from device memory, so that one captured step serves all positions.

        Args:
            position: int64 [1] on the device.
            previous: the code of each sequence at `position - 1`, [B] int64; not looked at where `position` is 0.
        """
        ...

    def restart(self, labels: Tensor | None) -> None:
        """Begin another batch of the same shape in the same buffers; `labels` as in `Engine.open`."""
        ...


class CapturedEngine(Engine):
    """An engine whose steps are captured as CUDA graphs, several codes at a time; see `sampling.captured`."""

    @abstractmethod
    def open(self, labels: Tensor | None, batch: int, length: int) -> CapturableStepper:
        """See `Engine`."""


class EngineMaker(Protocol):
    """Makes an engine of a prior, as the class of an engine does."""

    @property
    def precisions(self) -> tuple[str, ...]:
        """The precisions that the engine has."""
        ...

    def __call__(self, prior: Any, precision: str) -> Engine:
        """The engine. Raises UsageError for a device or precision that it does not have."""
        ...


@dataclass(frozen=True)
class ImportedEngine:
    """Makes the engine at `target`, `module:Class`, and imports it only then, as not every job needs numba."""

    target: str
    precisions: tuple[str, ...] = ("float32",)

    def __call__(self, prior: Any, precision: str) -> Engine:
        """See `EngineMaker`."""
        module, _, name = self.target.partition(":")
        engine: Engine = getattr(importlib.import_module(module), name)(prior, precision)
        return engine
