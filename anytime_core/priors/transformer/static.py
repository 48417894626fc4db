"""Steps in static buffers: the position is read from device memory, so that the same work serves every position.

n is the number of codes to draw, m the number of places for keys of a sequence, W the width, H the number of heads, G
that of key-value heads, and E = W / H.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from anytime_core.priors.sequence.weights import StackedEnds, input_at
from anytime_core.priors.transformer.patterns import Full, places_of, slots_of
from anytime_core.priors.transformer.weights import FoldedWeights


class AfterNorm(NamedTuple):
    """An affine map of what a normalisation returns, with I inputs and O outputs.

    Attributes:
        shift: [I], added to the input before it is normalised.
        matrix: [I, O], of which the inputs of one output lie side by side in memory.
        bias: [O].
    """

    shift: Tensor
    matrix: Tensor
    bias: Tensor


class StaticLayer(NamedTuple):
    """A block. What it adds to the residual stream has no bias: the same for all sequences, it is in later shifts."""

    to_queries_keys_values: AfterNorm
    project: Tensor
    expand: AfterNorm
    shrink: Tensor


@dataclass(frozen=True, eq=False)
class StaticWeights:
    """The weights of a prior as one step reads them at any position.

    Attributes:
        folded: the weights that these are made of.
        layers: the blocks.
        ends: what is around the blocks.
        shift: [W], see `AfterNorm`.
    """

    folded: FoldedWeights
    layers: tuple[StaticLayer, ...]
    ends: StackedEnds
    shift: Tensor

    def head(self, position: Tensor) -> AfterNorm:
        """What gives the logits of the code at `position`, int64 [1]."""
        return AfterNorm(self.shift, *self.ends.head(position))


@torch.no_grad()
def static_weights(weights: FoldedWeights) -> StaticWeights:
    """The same weights for any position."""
    shift = torch.zeros_like(weights.positions[0], dtype=torch.float32)
    layers = []
    for layer in weights.layers:
        before, middle = shift, shift + layer.project[1]
        shift = middle + layer.shrink[1]
        layers.append(
            StaticLayer(
                _after_norm(before, *layer.to_queries_keys_values),
                _by_output(layer.project[0]),
                _after_norm(middle, *layer.expand),
                _by_output(layer.shrink[0]),
            )
        )
    return StaticWeights(
        folded=weights, layers=tuple(layers), ends=weights.stacked(), shift=shift.to(weights.positions.dtype)
    )


def _after_norm(shift: Tensor, matrix: Tensor, bias: Tensor) -> AfterNorm:
    return AfterNorm(shift.to(matrix.dtype), _by_output(matrix), bias)


def _by_output(matrix: Tensor) -> Tensor:
    return matrix.T.contiguous().T


class Operators(Protocol):
    """What a step consists of, on tensors of one device and dtype. `position` is int64 [1]."""

    def embed(
        self, first_input: Tensor, positions: Tensor, tables: Tensor, position: Tensor, previous: Tensor
    ) -> Tensor:
        """First inputs [B, W], position embeddings [N, W], tables and the codes before [B] -> [B, W].

        At position 0, `previous` may be anything.
        """
        ...

    def attend(
        self, projected: Tensor, keys: Tensor, values: Tensor, last: Tensor, first: Tensor | None = None
    ) -> Tensor:
        """Attend to the places of a layer from `first` to `last`, after a key and a value are written at `last`.

        Args:
            projected: queries, keys and values, [B, W + 2 G E]; query head h reads key-value head h // (H // G).
            keys, values: the buffers, [B, G, m, E]; where they are not written yet, they hold anything finite.
            last: int64 [1].
            first: int64 [1]; None: 0.

        Returns:
            [B, W].
        """
        ...

    def after_norm(self, x: Tensor, part: AfterNorm, epsilon: float, *, gelu: bool = False) -> Tensor:
        """[B, I] -> [B, O], with GELU after it on demand."""
        ...

    def add_to(self, x: Tensor, y: Tensor, matrix: Tensor) -> Tensor:
        """`x` [B, O] plus the product of `y` [B, I]; `x` may be overwritten."""
        ...


class TorchOperators:
    """See `Operators`: torch's own, for any device and dtype."""

    def embed(
        self, first_input: Tensor, positions: Tensor, tables: Tensor, position: Tensor, previous: Tensor
    ) -> Tensor:
        """See `Operators`."""
        return input_at(first_input, positions, tables, position, previous)

    def attend(
        self, projected: Tensor, keys: Tensor, values: Tensor, last: Tensor, first: Tensor | None = None
    ) -> Tensor:
        """See `Operators`."""
        batch, groups, slots, size = keys.shape
        heads = projected.shape[1] // size - 2 * groups
        queries, new_keys, new_values = projected.view(batch, -1, size).split([heads, groups, groups], 1)
        keys.index_copy_(2, last, new_keys.unsqueeze(2))
        values.index_copy_(2, last, new_values.unsqueeze(2))
        place = torch.arange(slots, device=keys.device)
        seen = place <= last if first is None else (place <= last) & (place >= first)
        queries = queries.reshape(batch, groups, -1, size)  # [B, G, H / G, E]
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen.view(1, 1, 1, -1), scale=1.0)
        return attended.reshape(batch, -1)

    def after_norm(self, x: Tensor, part: AfterNorm, epsilon: float, *, gelu: bool = False) -> Tensor:
        """See `Operators`."""
        result = torch.addmm(part.bias, self.normalised(x, part.shift, epsilon), part.matrix)
        return F.gelu(result) if gelu else result

    def normalised(self, x: Tensor, shift: Tensor, epsilon: float) -> Tensor:
        """`x` + `shift` with mean 0 and variance 1 in each row, [B, I]."""
        return torch.layer_norm(x + shift, x.shape[-1:], eps=epsilon)

    def add_to(self, x: Tensor, y: Tensor, matrix: Tensor) -> Tensor:
        """See `Operators`."""
        return x.addmm_(y, matrix)


def step(
    operators: Operators,
    weights: StaticWeights,
    first_input: Tensor,
    keys: Tensor,
    values: Tensor,
    places: Tensor | None,
    position: Tensor,
    previous: Tensor,
) -> Tensor:
    """Logits [B, K] of the code at `position`, int64 [1].

    Args:
        operators: do the work.
        weights: the weights of the prior.
        first_input: [B, W].
        keys, values: [layers, B, G, m, E], which the step extends.
        places: of each layer, [layers, n, 2], see `Pattern.places`; None: layers attend to all positions.
        position: int64 [1].
        previous: the codes before it, int64 [B]; anything at position 0.
    """
    epsilon = weights.folded.epsilon
    x = operators.embed(first_input, weights.folded.positions, weights.ends.tables, position, previous)
    here = None if places is None else places.index_select(1, position)  # [layers, 1, 2]
    for number, layer in enumerate(weights.layers):
        projected = operators.after_norm(x, layer.to_queries_keys_values, epsilon)
        first, last = (None, position) if here is None else here[number].unbind(1)
        attended = operators.attend(projected, keys[number], values[number], last, first)
        x = operators.add_to(x, attended, layer.project)
        hidden = operators.after_norm(x, layer.expand, epsilon, gelu=True)
        x = operators.add_to(x, hidden, layer.shrink)
    return operators.after_norm(x, weights.head(position), epsilon)


class StaticStepper:
    """See `CapturableStepper`.

    Args:
        weights: the weights of the prior.
        operators: do the work of a step.
        labels: [B] on the weights' device, None for an unconditional prior.
        batch: B.
        length: n.
        run: `step`, or a function that does the same.
    """

    def __init__(
        self,
        weights: StaticWeights,
        operators: Operators,
        labels: Tensor | None,
        batch: int,
        length: int,
        run: Callable[..., Tensor] = step,
    ) -> None:
        self.weights, self.operators, self.run = weights, operators, run
        folded = weights.folded
        self.first_input = folded.first_input(labels, batch).clone()
        places = places_of(folded.patterns, length)
        device, whole = self.first_input.device, all(isinstance(pattern, Full) for pattern in folded.patterns)
        self.places = None if whole else torch.from_numpy(places).to(device)
        shape = (len(weights.layers), batch, folded.kv_heads, slots_of(places), folded.head_size)
        # Zeros, as what is not written yet must be finite.
        self.keys, self.values = self.first_input.new_zeros(shape), self.first_input.new_zeros(shape)
        self.position = torch.zeros(1, dtype=torch.int64, device=device)
        self.no_codes = self.position.new_zeros(batch)

    def step_at(self, position: Tensor, previous: Tensor) -> Tensor:
        """Logits [B, K] of the code at `position`, int64 [1]; `previous` int64 [B] may be anything at position 0."""
        kept = self.first_input, self.keys, self.values, self.places
        return self.run(self.operators, self.weights, *kept, position, previous)

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        """Logits [B, K] of the code at `position`."""
        return self.step_at(self.position.fill_(position), self.no_codes if previous is None else previous)

    def restart(self, labels: Tensor | None) -> None:
        """Begin another batch of the same shape in the same buffers."""
        self.first_input.copy_(self.weights.folded.first_input(labels, len(self.first_input)))

    def keep(self, rows: Tensor) -> None:
        """Go on with only the sequences `rows`, in new buffers."""
        self.first_input, self.no_codes = self.first_input[rows], self.no_codes[rows]
        self.keys, self.values = self.keys.index_select(1, rows), self.values.index_select(1, rows)
