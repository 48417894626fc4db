"""Engines of sequence priors: their networks one position at a time, as they are or as CUDA graphs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from anytime_core.priors.sequence.incremental import SequenceStepper
from anytime_core.priors.stepping import CapturedEngine, Engine, require_graphs

if TYPE_CHECKING:
    from anytime_core.priors.sequence.model import IncrementalPrior

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class EagerEngine(Engine):
    """See `Engine`. It has torch's own operators, on any device."""

    name = "eager"
    precisions: ClassVar[tuple[str, ...]] = tuple(_DTYPES)

    def __init__(self, prior: IncrementalPrior, precision: str = "float32") -> None:
        super().__init__(prior, precision)
        self.ends, self.network = prior.ends(_DTYPES[precision]), prior.incremental(_DTYPES[precision])

    def open(self, labels: Tensor | None, batch: int, length: int) -> SequenceStepper:
        """A stepper of a batch of `length` codes."""
        return SequenceStepper(self.ends, self.network, labels, batch, length)


class GraphEngine(EagerEngine, CapturedEngine):
    """See `Engine`. The same steps, captured; the prior must be on a CUDA device."""

    name = "graph"

    def __init__(self, prior: IncrementalPrior, precision: str = "float32") -> None:
        require_graphs(prior.device)
        super().__init__(prior, precision)
