"""MADE one position at a time: a step computes the hidden units of its degree, from those that are known.

All steps together do the work of one pass. E is the numbers of an input, F the features of a position, U the most units
of one degree in a layer, M the number of assignments of degrees; I is the inputs of a layer, with padding.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anytime_core.priors.made.masked import MaskedLinear, connections
from anytime_core.priors.sequence.incremental import IncrementalNetwork, State
from anytime_core.priors.stepping import Position

if TYPE_CHECKING:
    from anytime_core.priors.made.model import MADEPrior


class Blocks(NamedTuple):
    """A masked layer, cut by the degrees of its outputs. If a degree has fewer units than another, zeros fill it up.

    Attributes:
        weights: [N, I, U], for each degree; inputs are ordered by degree too.
        biases: [N, U].
    """

    weights: Tensor
    biases: Tensor

    def product(self, inputs: Tensor, position: Position) -> Tensor:
        """The outputs [B, U] of the degree `position`; inputs [B, N, I / N] are known up to there, and zeros after."""
        if isinstance(position, int):
            known = (position + 1) * inputs.shape[2]
            weights = self.weights[position, :known]
            return torch.addmm(self.biases[position], inputs.flatten(1)[:, :known], weights)
        weights, bias = self.weights.index_select(0, position)[0], self.biases.index_select(0, position)
        return torch.addmm(bias, inputs.flatten(1), weights)


class DegreeNetwork(IncrementalNetwork):
    """The network with one assignment of degrees. Its state is the inputs [B, N, E] and each layer's units [B, N, U].

    Args:
        prior: the prior.
        number: of the assignment.
        dtype: of the weights.
    """

    @torch.no_grad()
    def __init__(self, prior: MADEPrior, number: int, dtype: torch.dtype) -> None:
        length, degrees = prior.code_length, prior.degrees[number]

        def numbered(numbers: int) -> Tensor:
            return torch.arange(length * numbers, device=degrees.device).view(length, numbers)

        inputs, features = numbered(prior.config.embedding), numbered(prior.config.features)
        groups = [inputs, *(by_degree(own, length) for own in degrees), features]
        layers = [*prior.layers, prior.last]
        cut = [_cut(layer, *ends, dtype) for layer, ends in zip(layers, itertools.pairwise(groups), strict=True)]
        self.layers, self.last = cut[:-1], cut[-1]
        self.direct = None if prior.direct is None else _cut(prior.direct, inputs, features, dtype)

    def state(self, batch: int, length: int) -> State:
        """See `IncrementalNetwork`."""
        return tuple(
            block.weights.new_zeros(batch, len(block.weights), block.weights.shape[1] // len(block.weights))
            for block in (*self.layers, self.last)
        )

    def features(self, x: Tensor, state: State, position: Position) -> Tensor:
        """See `IncrementalNetwork`."""
        for layer, known in zip(self.layers, state, strict=False):
            _write(known, position, x)
            x = layer.product(known, position).relu_()
        _write(state[-1], position, x)
        features = self.last.product(state[-1], position)
        return features if self.direct is None else features + self.direct.product(state[0], position)


class AveragedNetworks(IncrementalNetwork):
    """The networks of M assignments, whose probabilities are averaged."""

    def __init__(self, networks: Sequence[DegreeNetwork]) -> None:
        self.networks = networks

    def state(self, batch: int, length: int) -> State:
        """See `IncrementalNetwork`: that of each network one after another."""
        return tuple(part for network in self.networks for part in network.state(batch, length))

    def features(self, x: Tensor, state: State, position: Position) -> Tensor:
        """The features of each network one after another, [M B, F]."""
        each = len(state) // len(self.networks)
        parts = [state[first : first + each] for first in range(0, len(state), each)]
        return torch.cat(
            [network.features(x, part, position) for network, part in zip(self.networks, parts, strict=True)]
        )

    def logits(self, outputs: Tensor) -> Tensor:
        """Logits [M B, K] -> logits [B, K]."""
        return averaged(outputs, len(self.networks))


def averaged(logits: Tensor, assignments: int) -> Tensor:
    """Logits [M B, ...] of each assignment one after another -> logits [B, ...] of the mean of their probabilities."""
    if assignments == 1:
        return logits
    return logits.unflatten(0, (assignments, -1)).log_softmax(-1).logsumexp(0) - math.log(assignments)


def by_degree(degrees: Tensor, positions: int) -> Tensor:
    """The numbers of the units of each degree, [N, U], for degrees [H]; H fills up degrees with fewer units."""
    counts = degrees.bincount(minlength=positions)
    order = degrees.argsort(stable=True)
    ordered = degrees[order]
    place = torch.arange(len(degrees), device=degrees.device) - (counts.cumsum(0) - counts)[ordered]
    units = torch.full((positions, int(counts.max())), len(degrees), device=degrees.device)
    units[ordered, place] = order
    return units


def _cut(layer: nn.Module, inputs: Tensor, outputs: Tensor, dtype: torch.dtype) -> Blocks:
    """A layer cut by degrees: the numbers of its inputs and outputs of each degree are [N, I / N] and [N, U]."""
    assert isinstance(layer, MaskedLinear)
    degrees = torch.arange(len(inputs), device=inputs.device)
    mask = connections(degrees.repeat_interleave(inputs.shape[1]), degrees)  # [N, I]
    padded = F.pad(layer.weight, (0, 1, 0, 1))
    weights = padded[outputs.unsqueeze(1), inputs.flatten().unsqueeze(1)] * mask.unsqueeze(2)
    bias = layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias
    return Blocks(weights.to(dtype), F.pad(bias, (0, 1))[outputs].to(dtype))


def _write(known: Tensor, position: Position, x: Tensor) -> None:
    """Write what is known at a position, x [B, U], to `known` [B, N, U]."""
    if isinstance(position, int):
        known[:, position] = x
    else:
        known.index_copy_(1, position, x.unsqueeze(1))
