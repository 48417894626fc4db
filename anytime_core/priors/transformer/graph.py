"""The eager steps as CUDA graphs: several codes are captured at a time, and replayed at no cost of starting kernels."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from anytime_core.capture import require_capture
from anytime_core.priors.stepping import CapturedEngine
from anytime_core.priors.transformer.eager import EagerStepper
from anytime_core.priors.transformer.model import TransformerPrior
from anytime_core.priors.transformer.weights import fold


class GraphEngine(CapturedEngine):
    """See `Engine`. The prior must be on a CUDA device."""

    name = "graph"
    precisions: ClassVar[tuple[str, ...]] = ("float32", "bfloat16")

    def __init__(self, prior: TransformerPrior, precision: str = "float32") -> None:
        require_capture(prior.device, what="engine 'graph'", way_out="use --device cuda, or --engine eager")
        super().__init__(prior, precision)
        self.weights = fold(prior, torch.float32 if precision == "float32" else torch.bfloat16)

    def open(self, labels: Tensor | None, batch: int, length: int) -> EagerStepper:
        """A stepper of a batch of `length` codes."""
        return EagerStepper(self.weights, labels, batch, length)
