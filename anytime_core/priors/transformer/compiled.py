"""One step compiled by torch.compile: the same code for every position, which attends to the whole padded buffer."""

from __future__ import annotations

import logging
import time
from typing import Any, ClassVar

import torch
from torch import Tensor

from anytime_core.errors import AnytimeError
from anytime_core.priors.stepping import Engine
from anytime_core.priors.transformer.model import TransformerPrior
from anytime_core.priors.transformer.static import StaticStepper, TorchOperators, static_weights, step
from anytime_core.priors.transformer.weights import fold

_log = logging.getLogger(__name__)


class CompileEngine(Engine):
    """See `Engine`. It compiles on the first step of each shape and says how long that took."""

    name = "compile"
    precisions: ClassVar[tuple[str, ...]] = ("float32", "bfloat16")

    def __init__(self, prior: TransformerPrior, precision: str = "float32") -> None:
        super().__init__(prior, precision)
        self.weights = static_weights(fold(prior, torch.float32 if precision == "float32" else torch.bfloat16))
        self.compiled = torch.compile(step, dynamic=False)

    def open(self, labels: Tensor | None, batch: int, length: int) -> StaticStepper:
        """A stepper of a batch of `length` codes."""
        return _CompiledStepper(self.weights, TorchOperators(), labels, batch, length, self._run)

    def _run(self, *arguments: Any) -> Tensor:
        try:
            return self.compiled(*arguments)
        except Exception as error:
            first_line = str(error).partition("\n")[0]
            raise AnytimeError(f"torch.compile does not work here ({first_line}): use --engine eager") from error


class _CompiledStepper(StaticStepper):
    def step(self, position: int, previous: Tensor | None) -> Tensor:
        started = time.perf_counter()
        logits = super().step(position, previous)
        if position == 0:
            _log.info(
                "engine compile: the first step, with its compilation, took %.1f s", time.perf_counter() - started
            )
        return logits
