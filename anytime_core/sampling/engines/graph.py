"""CUDA graphs: the steps of several codes captured once for a shape, and replayed without the cost of starting kernels.

Letters: B batch, n codes to draw, K codebook size.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import Tensor

from anytime_core.decoding.torch_decoder import TorchDecoder
from anytime_core.decoding.weights import DecodingWeights, fold
from anytime_core.errors import UsageError
from anytime_core.priors import TransformerPrior
from anytime_core.sampling.draw import Filter, draw_codes
from anytime_core.sampling.engines.capture import capturing, require_cuda, warm_up
from anytime_core.sampling.guidance import GuidedDecoder, with_null_labels
from anytime_core.sampling.noise import Noise

_CHUNK = 8
"""Codes a graph: whoever iterates can stop between two graphs."""
_KEPT = 4
"""Shapes whose graphs are kept, with their buffers."""


class GraphEngine:
    """See `Engine`.

    Args:
        prior: in evaluation mode, on a CUDA device.
        precision: `float32` or `bfloat16`.
    """

    name = "graph"
    precisions = ("float32", "bfloat16")

    def __init__(self, prior: TransformerPrior, precision: str) -> None:
        device = prior.position.weight.device
        require_cuda(device)
        if precision not in self.precisions:
            raise UsageError(f"engine 'graph' has no precision '{precision}': use {', '.join(self.precisions)}")
        self.prior = prior
        self.weights = fold(prior, torch.float32 if precision == "float32" else torch.bfloat16)
        self._captured: OrderedDict[tuple[int, int, Filter], _Captured] = OrderedDict()

    @torch.inference_mode()
    def draw(self, labels: Tensor | None, noise: Noise, filtering: Filter) -> Iterator[Tensor]:
        """See `Engine`; yields after every graph, with the work on the device not yet done."""
        batch, length = noise.shape[:2]
        key = (batch, length, filtering)
        whole = noise.whole()
        labels = with_null_labels(self.prior, labels) if filtering.guided else labels
        if key not in self._captured:
            with torch.cuda.device(noise.device):
                self._captured[key] = _Captured(self.weights, labels, whole, filtering)
            if len(self._captured) > _KEPT:
                self._captured.popitem(last=False)
        self._captured.move_to_end(key)
        yield from self._captured[key].replay(labels, whole)


class _Captured:
    """The graphs of one shape and the buffers that they read and write."""

    def __init__(self, weights: DecodingWeights, labels: Tensor | None, noise: Tensor, filtering: Filter) -> None:
        batch, length = noise.shape[:2]
        self.weights, self.noise = weights, noise.clone()
        network = TorchDecoder(weights, labels, filtering.rows(batch), length)
        self.first_input = network.first_input = network.first_input.clone()
        self.decoder = GuidedDecoder(network, batch, filtering.guidance) if filtering.guided else network
        self.codes = torch.zeros(length, batch, dtype=torch.int64, device=noise.device)
        self.ends = [min(first + _CHUNK, length) for first in range(0, length, _CHUNK)]
        with capturing(f"{length} codes of a batch of {batch}"):
            warm_up(lambda: self._steps(range(length), filtering))
            self.graphs: list[torch.cuda.CUDAGraph] = []
            for first, end in zip([0, *self.ends], self.ends, strict=False):
                graph = torch.cuda.CUDAGraph()
                pool = self.graphs[0].pool() if self.graphs else None
                with torch.cuda.graph(graph, pool=pool):
                    self._steps(range(first, end), filtering)
                self.graphs.append(graph)

    def _steps(self, positions: range, filtering: Filter) -> None:
        for position in positions:
            logits = self.decoder.step(position, self.codes[position - 1] if position else None)
            self.codes[position] = draw_codes(logits, self.noise[:, position], filtering)

    def replay(self, labels: Tensor | None, noise: Tensor) -> Iterator[Tensor]:
        self.first_input.copy_(self.weights.first_input(labels, len(self.first_input)))
        self.noise.copy_(noise)
        for end, graph in zip(self.ends, self.graphs, strict=True):
            with torch.cuda.device(noise.device):
                graph.replay()
            yield self.codes[:end].T
