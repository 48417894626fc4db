"""Checks of the networks over values that a modality offers.

[C, *S] is the shape of the grid, E how many numbers stand for a value, Q the channels of the condition.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from anytime_core.testing.configs import check_fields
from anytime_core.testing.modality.subject import CLOSE, Subject, check, spread
from anytime_core.value_networks import HasIncremental, OfferedNetwork, ValueGrid

_BATCH, _INPUTS, _CONDITION = 3, 2, 3
_ASKED = 8
"""About how many values are asked for the gradient of their condition."""
_SIDES = (5, 4, 3, 3)
"""S of the grids of the checks, as many of them as a network has axes."""


@check("value-networks")
def value_networks_are_described(subject: Subject, folder: Path) -> None:
    """Each network has a description and a section with defaults, and says how many features it has."""
    for name, offered in subject.modality.value_networks().items():
        assert offered.description.strip(), f"network {name} has no description"
        check_fields(offered.Config)
        network, _ = _built(offered, 1)
        assert isinstance(network, nn.Module), f"network {name} is a {type(network).__name__}, not a torch.nn.Module"
        assert isinstance(network.features, int), f"features of network {name} are {network.features!r}"


@check("value-networks")
def features_depend_on_earlier_values(subject: Subject, folder: Path) -> None:
    """The gradient of each value's features is zero from that value on; some earlier value before it is seen."""
    for name, network, grid in _networks(subject):
        x, condition = _inputs(grid)
        seen = seen_values(network, grid, x, condition)  # [values, values]
        late = seen.triu().nonzero()
        assert not len(late), (
            f"network {name} on {grid.channels} x {grid.shape}: features of value {_first(late, 0)} depend on value "
            f"{_first(late, 1)}, which is not before it"
        )
        blind = (~seen[1:].tril().any(1)).nonzero()
        assert not len(blind), (
            f"network {name} on {grid.channels} x {grid.shape}: features of value {_first(blind, 0) + 1} depend on no "
            "value before it"
        )


@check("value-networks")
def features_are_of_the_condition(subject: Subject, folder: Path) -> None:
    """The condition reaches the features of every value, and that of a cell the features in that cell."""
    for name, network, grid in _networks(subject):
        x, condition = _inputs(grid)
        condition.requires_grad_()
        features = in_order(network(x, condition), grid)
        same = (in_order(network(x, condition + 1), grid) == features).all(-1).nonzero()
        assert not len(same), f"network {name}: features of value {_first(same, 1)} ignore the condition"
        for number in {*spread(features.shape[1], _ASKED), features.shape[1] - 1}:
            (gradient,) = torch.autograd.grad(features[0, number].sum(), condition, retain_graph=True)
            own = gradient[0].flatten(1)[:, number // grid.channels]
            assert own.any(), f"network {name}: features of value {number} ignore the condition of their cell"


@check("value-networks")
@torch.no_grad()
def features_of_rows_are_their_own(subject: Subject, folder: Path) -> None:
    """Samples of a batch stay apart, and leading rows have the features that they have in the whole grid."""
    for name, network, grid in _networks(subject):
        x, condition = _inputs(grid)
        whole = network(x, condition)
        alone = network(x[1:2], condition[1:2])
        assert _same(alone, whole[1:2]), f"network {name}: features depend on other samples of the batch"
        for rows in range(1, grid.shape[0]):
            leading = network(x[:, :, :rows], condition[:, :, :rows])
            assert _same(leading, whole[:, :, :rows]), (
                f"network {name}: the first {rows} rows alone have other features"
            )


@check("value-networks")
@torch.no_grad()
def values_one_by_one_have_the_same_features(subject: Subject, folder: Path) -> None:
    """What is computed one value after another is what is computed of all, also after rows of the batch ended."""
    for name, network, grid in _networks(subject):
        if not _is_incremental(network):
            continue
        steps: Any = network.incremental()
        x, condition = _inputs(grid)
        wanted = in_order(network(x, condition), grid)
        values = x.unflatten(1, (grid.channels, grid.inputs)).flatten(3).permute(0, 3, 1, 2).flatten(1, 2)
        state, rows = steps.state(_BATCH, condition), torch.arange(_BATCH)
        for number, cell in enumerate(cells(grid)):
            if number == values.shape[1] // 2:
                rows = rows[1:]
                state = tuple(part[1:].clone() for part in state)
            found = steps.features(values[rows, number - 1] if number else None, state, cell)
            assert _same(found, wanted[rows, number]), f"network {name}: value by value, those of {cell} are others"


def _is_incremental(network: Any) -> bool:
    return isinstance(network, HasIncremental)


def cells(grid: ValueGrid) -> Iterator[tuple[int, ...]]:
    """The place of each value in order."""
    return itertools.product(*map(range, grid.shape), range(grid.channels))


def in_order(features: Tensor, grid: ValueGrid) -> Tensor:
    """Features [B, C * F, *S] -> [B, values, F] in raster order."""
    return features.unflatten(1, (grid.channels, -1)).flatten(3).permute(0, 3, 1, 2).flatten(1, 2)


def seen_values(network: nn.Module, grid: ValueGrid, x: Tensor, condition: Tensor | None) -> Tensor:
    """Which values the features of each value depend on, bool [values, values], by gradients.

    Args:
        network: over `grid`, in evaluation mode.
        grid: the grid.
        x: [1, C * E, *S], at which gradients are taken.
        condition: [1, Q, *S]; None if there is none.
    """
    x = x[:1].clone().requires_grad_()
    told = None if condition is None else condition[:1]
    features = in_order(network(x, told), grid)[0]  # [values, F]
    weights = torch.linspace(1, 2, features.shape[1])
    gradients = (
        torch.autograd.grad((one * weights).sum(), x, retain_graph=True, allow_unused=True)[0] for one in features
    )
    seen = (torch.zeros_like(x) if gradient is None else gradient for gradient in gradients)
    return torch.cat([in_order(one, grid).ne(0).any(-1) for one in seen])


def _networks(subject: Subject) -> Iterator[tuple[str, Any, ValueGrid]]:
    """Every network on a grid of one value a cell, and of three, in evaluation mode, with weights that all matter."""
    for name, offered in subject.modality.value_networks().items():
        for channels in (1, 3):
            network, grid = _built(offered, channels)
            for parameter in network.parameters():
                # As large as weights are: many times larger ones would make chaos of rounding.
                scale = parameter.detach().abs().mean().item() or 1.0
                parameter.data = parameter.data + 0.3 * scale * torch.randn_like(parameter)
            yield name, copy.deepcopy(network).eval(), grid


def _built(offered: OfferedNetwork, channels: int) -> tuple[Any, ValueGrid]:
    grid = ValueGrid(channels, _SIDES[: offered.axes], inputs=_INPUTS, condition=_CONDITION)
    section: Any = offered.Config.model_validate({})
    section.check(grid)
    return offered.build(section, grid), grid


def _inputs(grid: ValueGrid) -> tuple[Tensor, Tensor]:
    """Values [B, C * E, *S] and a condition [B, Q, *S]."""
    x = torch.randn(_BATCH, grid.channels * grid.inputs, *grid.shape)
    return x, torch.randn(_BATCH, grid.condition, *grid.shape)


def _same(found: Tensor, wanted: Tensor) -> bool:
    return torch.allclose(found, wanted, rtol=CLOSE, atol=CLOSE * max(1.0, wanted.abs().max().item()))


def _first(places: Tensor, axis: int) -> int:
    return int(places[0, axis])
