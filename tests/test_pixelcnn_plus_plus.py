"""PixelCNN++: what its streams see at all resolutions, sizes that cannot be halved, and what it learns."""

from __future__ import annotations

import pytest
import torch
from pixels import network_of, seen_on, stripes, trained_nats
from torch import nn

from anytime_core.value_networks import ValueGrid
from anytime_image.value_networks.pixelcnn_plus_plus import PixelCNNPlusPlus
from anytime_image.value_networks.sections import PixelCNNPlusPlusConfig
from anytime_image.value_networks.shifted import shifted

LEVELS = tuple(torch.linspace(-1, 1, 6).tolist())


@pytest.mark.parametrize("channels", [1, 3])
def test_with_lower_resolutions_every_value_depends_on_all_values_before_it(channels):
    seen = seen_on("pixelcnn++", {"width": 3, "blocks": 1}, channels, (6, 5))
    assert seen.equal(torch.ones_like(seen).tril(-1))


def test_without_lower_resolutions_it_sees_what_its_kernels_reach():
    rows, columns = 9, 9
    seen = seen_on("pixelcnn++", {"width": 4, "blocks": 1, "resolutions": 1}, 1, (rows, columns))
    middle = seen[4 * columns + 4].view(rows, columns)
    # Rows above: 2 x 3 at first, then two layers of two convolutions of 2 x 3, so 5 to each side and 6 rows up at most.
    assert middle[:4].all()
    assert middle[4].tolist() == [True] * 4 + [False] * 5
    assert not middle[5:].any()


@pytest.mark.parametrize("resolutions", [1, 2, 3, 4])
@pytest.mark.parametrize("shape", [(1, 5), (5, 1), (6, 7), (8, 8)])
@torch.no_grad()
def test_sizes_that_cannot_be_halved_are_padded_where_nothing_is_seen(resolutions, shape):
    network = network_of(
        "pixelcnn++", {"width": 4, "blocks": 1, "resolutions": resolutions}, ValueGrid(1, shape)
    ).double()
    x = torch.randn(2, 1, *shape, dtype=torch.float64)
    whole = network(x, None)
    assert whole.shape == (2, 4, *shape)
    for rows in range(1, shape[0]):
        torch.testing.assert_close(network(x[:, :, :rows], None), whole[:, :, :rows])


def test_the_first_convolutions_start_a_row_or_a_column_late():
    x = torch.arange(1.0, 7).view(1, 1, 2, 3)
    assert shifted(x, rows=1).tolist() == [[[[0, 0, 0], [1, 2, 3]]]]
    assert shifted(x, columns=1).tolist() == [[[[0, 1, 2], [0, 4, 5]]]]
    assert not shifted(x[:, :, :1], rows=1).any()


def test_each_resolution_goes_up_through_the_layers_that_went_down():
    config = PixelCNNPlusPlusConfig(width=4, blocks=2, resolutions=3)
    network = PixelCNNPlusPlus(config, ValueGrid(1, (28, 28)))
    assert [len(layers) for layers in network.down] == [2, 2, 2]
    assert [len(layers) for layers in network.up] == [2, 3, 3]  # 9 streams were left: the first, 6 of layers, 2 halved
    sizes = []
    for layers in network.down:
        layers[0].register_forward_hook(lambda module, inputs, output: sizes.append(tuple(output[0].shape[2:])))
    network(torch.zeros(1, 1, 28, 28), None)
    assert sizes == [(28, 28), (14, 14), (7, 7)]


def test_every_weight_takes_part():
    network = network_of("pixelcnn++", {"width": 4, "blocks": 1}, ValueGrid(3, (8, 8), inputs=2, condition=2))
    network(torch.randn(1, 6, 8, 8), torch.randn(1, 2, 8, 8)).square().sum().backward()
    idle = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert idle == []


def test_dropout_is_for_training_only():
    network = network_of("pixelcnn++", {"width": 4, "blocks": 1, "dropout": 0.5}, ValueGrid(1, (4, 4)))
    x = torch.randn(1, 1, 4, 4)
    assert network(x, None).equal(network(x, None))
    assert not network.train()(x, None).equal(network(x, None))
    assert any(isinstance(module, nn.Dropout) for module in network.modules())


def test_it_learns_stripes_of_colours():
    pictures, spec = stripes(channels=3, levels=LEVELS)
    network = {"kind": "pixelcnn++", "width": 8, "blocks": 1, "resolutions": 2}
    section = {"network": network, "head": "logistics", "mixtures": 3}
    # Perfect would be a twelfth of the nats of chance: the first colour in the first row of four.
    assert trained_nats(section, spec, pictures, steps=40) < 0.5 * trained_nats(section, spec, pictures, steps=0)
