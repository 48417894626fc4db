"""PixelCNN and Gated PixelCNN: what they see, their steps, and what those cost."""

from __future__ import annotations

import itertools
from math import exp, tanh
from typing import Any

import pytest
import torch
from test_raster import COLOURS
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from anytime_core.errors import ConfigError
from anytime_core.priors.raster.config import RasterConfig
from anytime_core.testing.modality.value_networks import cells, in_order, seen_values
from anytime_core.value_networks import NETWORKS, ValueGrid
from anytime_image.modality import ImageModality
from anytime_image.value_networks.gated import GatedLayer
from anytime_image.value_networks.masked import MaskedConvolution, colours_of

NETWORKS.offer(ImageModality)

PIXELCNN: dict[str, Any] = {"kind": "pixelcnn", "blocks": 2, "width": 8, "first_kernel": 3, "features": 8}
GATED: dict[str, Any] = {"kind": "gated-pixelcnn", "layers": 3, "width": 8, "first_kernel": 3, "features": 8}
SECTIONS: dict[str, dict[str, Any]] = {
    "pixelcnn": PIXELCNN,
    "pixelcnn of large kernels": PIXELCNN | {"first_kernel": 7, "kernel": 5, "width": 7, "blocks": 1},
    "gated": GATED,
    "gated of large kernels": GATED | {"first_kernel": 5, "kernel": 5, "width": 7, "dilations": (1,)},
    "gated, dilated": GATED | {"dilations": (1, 2, 4)},
    "gated, of one layer": GATED | {"layers": 1, "dilations": (3,)},
}


def network_of(section: dict[str, Any], grid: ValueGrid) -> nn.Module:
    """A network whose biases are not zero."""
    torch.manual_seed(0)
    offered = NETWORKS[section["kind"]]
    network = offered.build(offered.Config(**section), grid).eval()
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.3)
    return network


def inputs_of(grid: ValueGrid, batch: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    x = torch.randn(batch, grid.channels * grid.inputs, *grid.shape)
    return x, torch.randn(batch, grid.condition, *grid.shape) if grid.condition else None


def stepped(network: Any, grid: ValueGrid, x: torch.Tensor, condition: torch.Tensor | None) -> torch.Tensor:
    """The features of all values, one after another."""
    steps = network.incremental()
    state, values = steps.state(len(x), condition), in_order(x, grid)
    found = (
        steps.features(values[:, number - 1] if number else None, state, cell)
        for number, cell in enumerate(cells(grid))
    )
    return torch.stack(list(found), 1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("section", [GATED, GATED | {"dilations": (1, 2)}, GATED | {"kernel": 5}])
def test_two_stacks_see_all_earlier_values_that_their_kernels_reach(section, channels):
    grid = ValueGrid(channels, (4, 5), inputs=2)
    network = network_of(section | {"layers": 4, "first_kernel": 5}, grid)
    seen = seen_values(network, grid, *inputs_of(grid, 1))
    assert torch.equal(seen, torch.ones_like(seen).tril(-1))


def reached(kernels: list[list[tuple[int, int]]], shape: tuple[int, int]) -> torch.Tensor:
    """What a chain of kernels sees, each a list of distances in rows and columns, bool [values, values]."""
    seen = torch.zeros(*shape, *shape, dtype=torch.bool)
    for row, column in itertools.product(*map(range, shape)):
        places = {(row, column)}
        for kernel in kernels:
            moved = {(top + down, left + right) for top, left in places for down, right in kernel}
            places = {place for place in moved if place[0] in range(shape[0]) and place[1] in range(shape[1])}
        for place in places:
            seen[row, column][place] = True
    return seen.flatten(2).flatten(0, 1)


@pytest.mark.parametrize("blocks", [1, 2, 3, 6])
def test_one_stack_of_masked_convolutions_has_the_blind_spot_of_its_masks(blocks):
    grid = ValueGrid(1, (5, 7))
    strict = [(-1, -1), (-1, 0), (-1, 1), (0, -1)]
    wanted = reached([strict, *[[*strict, (0, 0)]] * blocks], grid.shape)
    network = network_of(PIXELCNN | {"blocks": blocks, "width": 16}, grid)
    found = [seen_values(network, grid, *inputs_of(grid, 1)) for _ in range(3)]  # units may be dead for some values
    seen = torch.stack(found).any(0)
    assert torch.equal(seen, wanted)
    assert not seen[2 * 7, 7 + 2]  # two to the right in the row above: no number of blocks helps


@pytest.mark.parametrize(
    ("mask", "wanted"),
    [("A", [[0, 0, 0], [1, 0, 0], [1, 1, 0]]), ("B", [[1, 0, 0], [1, 1, 0], [1, 1, 1]])],
)
def test_of_the_own_cell_a_colour_sees_those_before_it(mask, wanted):
    convolution = MaskedConvolution(6, 12, 3, kernel=3, mask=mask, above=True, parts=2)
    middle = convolution.mask[:, :, -1, 1].view(2, 3, 2, 3, 2)  # parts, colours, channels; colours, channels
    assert torch.equal(middle, torch.tensor(wanted).view(1, 3, 1, 3, 1).expand_as(middle).float())
    assert convolution.mask[:, :, -1, 2].sum() == 0
    assert convolution.mask[:, :, 0].all()
    assert convolution.mask[:, :, -1, 0].all()
    assert colours_of(12, 3, parts=2).tolist() == [0, 0, 1, 1, 2, 2] * 2


def test_a_gated_layer_is_that_of_the_paper():
    layer = GatedLayer(1, 1, 3, 1, last=False)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    layer.above.weight.data[:, 0, :, 1] = torch.tensor([[0.5, 1.5], [-1.0, 0.25]])  # filter, gate: row above, own row
    layer.left.weight.data[:, 0, 0] = torch.tensor([[2.0, -0.5], [0.75, 1.0]])  # filter, gate: cell before, own cell
    layer.left.bias.data = torch.tensor([0.1, -0.2])
    layer.link.weight.data[:, :, 0, 0] = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    layer.outputs.weight.data[:, 0, 0, 0] = torch.tensor([3.0, -2.0])  # residual, skip
    above = torch.tensor([[0.3, -0.4], [0.6, 0.2]]).view(1, 1, 2, 2)
    stream = torch.tensor([[[0.1, 0.7], [-0.5, 0.8]], [[10.0, 20.0], [30.0, 40.0]]]).unsqueeze(0)
    found_above, found = layer(above, stream, None)

    def gate(filters: float, gates: float) -> float:
        return tanh(filters) / (1 + exp(-gates))

    filters, gates = 0.5 * -0.4 + 1.5 * 0.2, -1.0 * -0.4 + 0.25 * 0.2
    assert found_above[0, 0, 1, 1].item() == pytest.approx(gate(filters, gates), abs=1e-6)
    own = gate(
        2.0 * -0.5 - 0.5 * 0.8 + 0.1 + filters - 2.0 * gates, 0.75 * -0.5 + 0.8 - 0.2 + 0.5 * filters + 3.0 * gates
    )
    assert found[0, :, 1, 1].tolist() == pytest.approx([0.8 + 3 * own, 40.0 - 2 * own], abs=1e-5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (6, 1), (5, 4)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS.keys())
@torch.inference_mode()
def test_values_one_by_one_have_the_features_of_all_values_at_once(section, channels, shape):
    grid = ValueGrid(channels, shape, inputs=2, condition=3 if channels == 3 else 0)
    network = network_of(section, grid)
    x, condition = inputs_of(grid, 2)
    expected = in_order(network(x, condition), grid)
    torch.testing.assert_close(stepped(network, grid, x, condition), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS.keys())
@torch.inference_mode()
def test_a_value_costs_the_same_in_pictures_of_all_sizes_and_rows_far_above_are_not_kept(section):
    costs, kept = set(), set()
    for shape in ((1, 4), (2, 4), (2, 6)):
        grid = ValueGrid(3, shape)
        network: Any = network_of(section, grid)
        counter = FlopCounterMode(display=False)
        with counter:
            stepped(network, grid, *inputs_of(grid, 1))
        costs.add(counter.get_total_flops() / (shape[0] * shape[1]))
        if shape[1] == 4:
            kept.add(sum(part.numel() for part in network.incremental().state(1, None)))
    assert len(costs) == len(kept) == 1


@pytest.mark.parametrize("kind", ["pixelcnn", "gated-pixelcnn"])
@pytest.mark.parametrize("field", ["kernel", "first_kernel"])
def test_a_kernel_without_a_middle_is_refused(kind, field):
    config = RasterConfig(network={"kind": kind, field: 4})
    with pytest.raises(ConfigError, match=rf"prior.network.{field}=4 has no middle: use an odd number, such as 3 or 5"):
        config.check(COLOURS)
