"""Steps in static buffers, captured as CUDA graphs, which replay at no cost of starting kernels."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from anytime_core.priors.stepping import CapturedEngine, require_graphs
from anytime_core.priors.transformer.model import TransformerPrior
from anytime_core.priors.transformer.static import Operators, StaticStepper, TorchOperators, static_weights
from anytime_core.priors.transformer.weights import fold
from anytime_core.triton_support import runs_triton


class GraphEngine(CapturedEngine):
    """See `Engine`. The prior must be on a CUDA device."""

    name = "graph"
    precisions: ClassVar[tuple[str, ...]] = ("float32", "bfloat16")

    def __init__(self, prior: TransformerPrior, precision: str = "float32") -> None:
        require_graphs(prior.device)
        super().__init__(prior, precision)
        dtype = torch.float32 if precision == "float32" else torch.bfloat16
        self.weights = static_weights(fold(prior, dtype))
        self.operators = operators_for(prior.device)

    def open(self, labels: Tensor | None, batch: int, length: int) -> StaticStepper:
        """A stepper of a batch of `length` codes."""
        return StaticStepper(self.weights, self.operators, labels, batch, length)


def operators_for(device: torch.device) -> Operators:
    """The fastest operators of a device: kernels in Triton where they run, else torch's."""
    if not runs_triton(device):
        return TorchOperators()
    from anytime_core.priors.transformer.triton_operators import TritonOperators

    return TritonOperators()
