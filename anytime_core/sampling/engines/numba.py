"""Small batches on the CPU, a step being one call of a compiled kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from anytime_core.decoding.numba_decoder import NumbaDecoder
from anytime_core.decoding.weights import fold
from anytime_core.errors import UsageError
from anytime_core.priors import TransformerPrior
from anytime_core.sampling.engines.base import SteppedEngine


class NumbaEngine(SteppedEngine):
    """See `Engine`. With precision `int8` the codes are close to those of the other engines, not the same."""

    name = "numba"
    precisions = ("float32", "int8")

    def __init__(self, prior: TransformerPrior, precision: str) -> None:
        super().__init__(prior, precision)
        device = prior.position.weight.device
        if device.type != "cpu":
            raise UsageError(f"engine 'numba' runs on the CPU, not on '{device}': use --device cpu, or --engine eager")
        self.weights = fold(prior, torch.float32)

    def open(self, labels: Tensor | None, batch: int, length: int) -> NumbaDecoder:
        """A decoder for a batch of `length` codes."""
        return NumbaDecoder(self.weights, labels, batch, length, "int8" if self.precision == "int8" else "float32")
