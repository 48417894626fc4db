"""Drawing one code after another from a causal prior. Letters: B batch, P parameters of one code."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from torch import Tensor

from anytime_core.errors import UsageError

if TYPE_CHECKING:
    from anytime_core.priors.base import CausalPrior


class Stepper(Protocol):
    """One batch of code sequences that is being drawn, first code to last.

    Its state is its own: any number of steppers of one engine may be open at a time, in any threads.
    """

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        """Parameters [B, P] of the code at `position`, which counts up from 0.

        Args:
            position: how many codes have been drawn.
            previous: the code at `position - 1` of each sequence, [B]; None at position 0.

        Returns:
            Possibly a buffer, which the next step overwrites.
        """
        ...

    def keep(self, rows: Tensor) -> None:
        """Go on with the sequences `rows` [R] of the batch only, which are in ascending order."""
        ...


class Engine(ABC):
    """A way to run a causal prior code by code; the batches that it opens share its weights and nothing else.

    Args:
        prior: in evaluation mode, on the device that it is run on.
        precision: one of `precisions`.

    Attributes:
        name: what `--engine` calls it.
        precisions: that it has.

    Raises:
        UsageError: it does not have this precision.
    """

    name: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]] = ("float32",)

    def __init__(self, prior: CausalPrior, precision: str = "float32") -> None:
        if precision not in self.precisions:
            known = ", ".join(self.precisions)
            raise UsageError(f"engine '{self.name}' has no precision '{precision}': use {known}")
        self.prior: Any = prior
        self.precision = precision

    @abstractmethod
    def open(self, labels: Tensor | None, batch: int, length: int) -> Stepper:
        """A stepper of a new batch.

        Args:
            labels: [B] on the prior's device, None for an unconditional prior.
            batch: B.
            length: number of codes that will be drawn at most.
        """


class CapturableStepper(Stepper, Protocol):
    """A stepper in static buffers, without a host synchronisation: its steps can be captured and replayed."""

    def restart(self, labels: Tensor | None) -> None:
        """Begin another batch of the same shape, in the same buffers; `labels` as in `Engine.open`."""
        ...


class CapturedEngine(Engine):
    """An engine whose steps are captured as CUDA graphs, several codes at a time; see `sampling.captured`."""

    @abstractmethod
    def open(self, labels: Tensor | None, batch: int, length: int) -> CapturableStepper:
        """See `Engine`."""


class EngineMaker(Protocol):
    """Makes an engine of a prior, such as an engine's class does."""

    @property
    def precisions(self) -> tuple[str, ...]:
        """That it has."""
        ...

    def __call__(self, prior: Any, precision: str) -> Engine:
        """The engine. Raises UsageError for a device or a precision that it does not have."""
        ...


@dataclass(frozen=True)
class ImportedEngine:
    """Makes the engine at `target`, `module:Class`, which is imported only then: not every job needs numba."""

    target: str
    precisions: tuple[str, ...] = ("float32",)

    def __call__(self, prior: Any, precision: str) -> Engine:
        """See `EngineMaker`."""
        module, _, name = self.target.partition(":")
        engine: Engine = getattr(importlib.import_module(module), name)(prior, precision)
        return engine
