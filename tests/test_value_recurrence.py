"""PixelRNN and spatial LSTM: what they see, what their units compute, and what is kept between values."""

from __future__ import annotations

from math import exp, tanh
from typing import Any

import pytest
import torch
from torch import nn

from anytime_core.errors import ConfigError
from anytime_core.priors.grid.orders import raster_order
from anytime_core.priors.raster.model import RasterPrior
from anytime_core.quantizers.base import CodeSpec
from anytime_core.testing.modality.value_networks import cells, in_order, seen_values
from anytime_core.value_networks import NETWORKS, ValueGrid
from anytime_image.modality import ImageModality
from anytime_image.value_networks.offers import NETWORKS as OFFERED
from anytime_image.value_networks.row_lstm import lstm_cell
from anytime_image.value_networks.spatial_lstm import SpatialLayer
from anytime_image.value_networks.wavefront import scan

NETWORKS.offer(ImageModality)
ROWS: dict[str, Any] = {"kind": "pixelrnn", "width": 8, "features": 16, "first_kernel": 3}
DIAGONALS = {**ROWS, "layer": "diagonal"}
SPATIAL: dict[str, Any] = {"kind": "spatial-lstm", "width": 8, "features": 16, "patch": 3}
EACH = pytest.mark.parametrize("fields", [ROWS, DIAGONALS, SPATIAL], ids=["row", "diagonal", "spatial-lstm"])
COLOURS = CodeSpec(
    length=18, size=3, dim=1, grid=(3, 3, 2), levels=(-1, 0, 1), order=raster_order(3, (3, 2)), classes=2
)


def network_of(grid: ValueGrid, **fields: Any) -> nn.Module:
    """A network in double precision, small enough that no unit is saturated."""
    torch.manual_seed(0)
    offered = OFFERED[fields["kind"]]
    return offered.build(offered.Config.model_validate(fields), grid).eval().double()


def seen_cells(grid: ValueGrid, **fields: Any) -> list[list[int]]:
    """The values that each value sees, by their numbers."""
    x = torch.randn(1, grid.channels * grid.inputs, *grid.shape, dtype=torch.float64)
    seen = seen_values(network_of(grid, **fields), grid, x, None)
    return [row.nonzero().flatten().tolist() for row in seen]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("colours", [1, 3])
def test_with_diagonal_layers_every_value_sees_all_values_before_it(colours, layers):
    seen = seen_cells(ValueGrid(colours, (4, 4)), **{**DIAGONALS, "width": 8 * colours, "layers": layers})
    assert seen == [list(range(number)) for number in range(len(seen))]


def test_a_row_layer_sees_a_triangle_above_and_what_its_first_convolution_sees_of_the_row():
    rows, columns = 6, 11
    seen = seen_cells(ValueGrid(1, (rows, columns)), **ROWS, layers=1)
    for number, (row, column, _) in enumerate(cells(ValueGrid(1, (rows, columns)))):
        # The input of a cell k rows above reaches k columns to either side, and one further row and column by the
        # convolution; the left neighbour's input, one column more to the left.
        triangle = {
            (row - up, column + side)
            for up in range(row + 1)
            for side in range(-up - 2, up + (1 if up else 0))
            if 0 <= column + side < columns
        }
        assert seen[number] == sorted(above * columns + beside for above, beside in triangle)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_spatial_lstm_sees_what_its_patch_sees_of_all_cells_to_the_left_and_above(layers):
    rows, columns = 5, 6
    seen = seen_cells(ValueGrid(1, (rows, columns)), **SPATIAL, layers=layers)
    for number, (row, column, _) in enumerate(cells(ValueGrid(1, (rows, columns)))):
        above = [up * columns + beside for up in range(row) for beside in range(min(column + 2, columns))]
        assert seen[number] == above + [row * columns + beside for beside in range(column)]


def test_a_value_of_a_spatial_lstm_sees_the_earlier_colours_of_its_cell():
    grid = ValueGrid(3, (2, 2))
    assert seen_cells(grid, **SPATIAL) == [list(range(number)) for number in range(12)]


def test_a_unit_of_a_spatial_lstm_is_that_of_the_paper():
    layer = SpatialLayer(1, 0, below=False)
    with torch.no_grad():
        layer.states.copy_(torch.tensor([[0.1, 0.2, 0.3, 0.4, 0.5], [0.6, 0.7, 0.8, 0.9, 1.0]]))
        state = layer.state(torch.tensor([1.0, -1, 0, 2, 0.5]), torch.tensor([0.5, 2.0]), torch.tensor([-0.5, 3.0]))
    # h of the left cell is 0.5 and of the upper one -0.5, so each gate gets -0.25 by them.
    take, keep_left, keep_above, show = (1 / (1 + exp(0.25 - x)) for x in (1, -1, 0, 2))
    memory = take * tanh(0.5 - 0.25) + keep_left * 2 + keep_above * 3
    assert state.tolist() == pytest.approx([tanh(show * memory), memory])


def test_an_lstm_cell_is_that_of_torch():
    cell, x = nn.LSTMCell(3, 5), torch.randn(2, 3)
    h, memory = torch.randn(2, 5), torch.randn(2, 5)
    take, keep, write, show = (x @ cell.weight_ih.T + cell.bias_ih + h @ cell.weight_hh.T + cell.bias_hh).chunk(4, 1)
    torch.testing.assert_close(lstm_cell(torch.cat([take, keep, show, write], 1), memory), cell(x, (h, memory)))


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 4), (4, 1), (3, 5), (5, 3)])
def test_a_scan_goes_over_diagonals_as_one_over_cells_would(rows, columns):
    inputs = torch.randn(2, rows, columns, 3, 4)

    def step(given, left, above):
        return torch.tanh(given + 0.5 * left - 2 * above)

    wanted = torch.zeros(2, rows + 1, columns + 1, 3, 4)
    for row in range(rows):
        for column in range(columns):
            beside, above = wanted[:, row + 1, column], wanted[:, row, column + 1]
            wanted[:, row + 1, column + 1] = step(inputs[:, row, column], beside, above)
    torch.testing.assert_close(scan(inputs, 4, step), wanted[:, 1:, 1:])


def test_a_scan_while_drawing_leaves_nothing_that_training_cannot_use():
    inputs = torch.randn(1, 2, 7, 1, 3, requires_grad=True)
    with torch.inference_mode():
        scan(inputs, 3, lambda given, left, above: given + left)
    scan(inputs, 3, lambda given, left, above: given + left).sum().backward()
    assert inputs.grad[0, :, :, 0, 0].tolist() == [[7, 6, 5, 4, 3, 2, 1]] * 2


@EACH
def test_what_is_kept_and_so_the_work_of_a_value_do_not_depend_on_the_height(fields):
    kept = []
    for rows in (4, 40):
        network: Any = network_of(ValueGrid(1, (rows, 5)), **fields)
        kept.append([part.shape for part in network.incremental().state(2, None)])
    assert kept[0] == kept[1]


@pytest.mark.parametrize(
    "fields",
    [
        ROWS,
        {**DIAGONALS, "layers": 3},
        {**DIAGONALS, "first_kernel": 7},
        {**SPATIAL, "layers": 3},
        {**SPATIAL, "patch": 7},
    ],
)
@pytest.mark.parametrize("shape", [(1, 6), (6, 1), (3, 4)])
@torch.no_grad()
def test_values_one_by_one_have_the_features_of_all_at_once(fields, shape):
    grid = ValueGrid(2, shape, inputs=3, condition=2)
    network: Any = network_of(grid, **fields)
    x, told = torch.randn(4, 6, *shape).double(), torch.randn(4, 2, *shape).double()
    values = in_order(x, grid)
    steps = network.incremental()
    state, found = steps.state(4, told), []
    for number, cell in enumerate(cells(grid)):
        found.append(steps.features(values[:, number - 1] if number else None, state, cell))
    torch.testing.assert_close(torch.stack(found, 1), in_order(network(x, told), grid))


@EACH
@torch.no_grad()
def test_a_prior_draws_codes_of_coloured_cells_one_by_one_as_plainly(fields):
    torch.manual_seed(0)
    section = RasterPrior.Config.model_validate({"network": fields})
    prior = RasterPrior(section, COLOURS).eval()
    codes, labels = torch.randint(3, (4, COLOURS.length)), torch.tensor([0, 1, 1, 0])
    wanted = prior.conditionals(codes[:, :-1], labels)
    stepper = prior.engines()["eager"](prior).open(labels, 4, COLOURS.length)
    for position in range(COLOURS.length):
        if position == 7:
            rows = torch.tensor([3, 1])
            stepper.keep(rows)
            codes, wanted = codes[rows], wanted[rows]
        logits = stepper.step(position, codes[:, position - 1] if position else None)
        torch.testing.assert_close(logits, wanted[:, position])


@pytest.mark.parametrize(("kind", "field"), [("pixelrnn", "first_kernel"), ("spatial-lstm", "patch")])
def test_a_kernel_without_a_middle_is_refused(kind, field):
    section = OFFERED[kind].Config.model_validate({field: 4})
    with pytest.raises(ConfigError, match=rf"prior.network.{field}=4 has no middle: .* 3 or 5"):
        section.check(ValueGrid(1, (5, 5)))
