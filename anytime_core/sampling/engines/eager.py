"""One position a step, in static key-value buffers, with torch's own operators."""

from __future__ import annotations

import torch
from torch import Tensor

from anytime_core.decoding.base import Decoder
from anytime_core.decoding.torch_decoder import SplitDecoder, TorchDecoder
from anytime_core.decoding.weights import fold
from anytime_core.priors import TransformerPrior
from anytime_core.sampling.engines.base import SteppedEngine

_THREADED_FROM = 8
"""Batch from which a CPU step gains from more than one thread."""
_SPLIT_FROM = 256
"""Batch from which the parts of a batch are better run beside each other, each on one thread."""


class EagerEngine(SteppedEngine):
    """See `Engine`."""

    name = "eager"
    precisions = ("float32", "bfloat16")

    def __init__(self, prior: TransformerPrior, precision: str) -> None:
        super().__init__(prior, precision)
        self.weights = fold(prior, torch.float32 if precision == "float32" else torch.bfloat16)

    def open(self, labels: Tensor | None, batch: int, length: int) -> Decoder:
        """A decoder for a batch of `length` codes."""
        threads = self.parts(batch)
        if threads == 1:
            return TorchDecoder(self.weights, labels, batch, length)
        sizes = [len(part) for part in torch.arange(batch).chunk(threads)]
        split = [None] * len(sizes) if labels is None else labels.split(sizes)
        parts = [TorchDecoder(self.weights, *part, length) for part in zip(split, sizes, strict=True)]
        return SplitDecoder(parts, sizes)

    def parts(self, batch: int) -> int:
        """In how many parts a batch is run."""
        on_cpu = self.weights.positions.device.type == "cpu"
        return torch.get_num_threads() if on_cpu and batch >= _SPLIT_FROM else 1

    def threads(self, batch: int) -> int:
        """Number of torch threads that each part runs with."""
        return 1 if batch < _THREADED_FROM or self.parts(batch) > 1 else torch.get_num_threads()
