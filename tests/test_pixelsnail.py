"""PixelSNAIL: its attention is strictly causal, it sees everything before, and what it learns."""

from __future__ import annotations

import pytest
import torch
from pixels import network_of, seen_on, stripes, trained_nats

from anytime_core.value_networks import ValueGrid
from anytime_image.value_networks.pixelsnail import CausalAttention
from anytime_image.value_networks.sections import PixelSNAILConfig

SMALL = {"width": 4, "blocks": 1, "convolutions": 1, "keys": 2}


@pytest.mark.parametrize("channels", [1, 3])
def test_every_value_depends_on_all_values_before_it(channels):
    seen = seen_on("pixelsnail", SMALL, channels, (6, 5))
    assert seen.equal(torch.ones_like(seen).tril(-1))


@pytest.mark.parametrize(("keys", "values"), [(2, 5), (5, 2), (3, 3)])
@pytest.mark.parametrize("shape", [(1, 1), (3, 4)])
def test_attention_is_softmax_over_a_start_and_the_cells_before(keys, values, shape):
    torch.manual_seed(0)
    attention = CausalAttention(seen=4, asking=3, keys=keys, values=values, dropout=0).double()
    torch.nn.init.normal_(attention.start)
    seen, asking = torch.randn(2, 4, *shape).double(), torch.randn(2, 3, *shape).double()
    found = attention(seen, asking)
    assert found.shape == (2, values, *shape)
    memory, queries = attention.seen(seen).flatten(2), attention.asking(asking).flatten(2)  # [B, ..., cells]
    for cell in range(queries.shape[2]):
        earlier = torch.cat([attention.start.expand(2, -1)[..., None], memory[..., :cell]], 2)
        scores = torch.einsum("bkn,bk->bn", earlier[:, :keys], queries[..., cell]) / keys**0.5
        wanted = torch.einsum("bvn,bn->bv", earlier[:, keys:], scores.softmax(1))
        torch.testing.assert_close(found.flatten(2)[..., cell], wanted)


def test_the_first_cell_attends_to_the_start_alone():
    attention = CausalAttention(seen=4, asking=3, keys=2, values=5, dropout=0)
    torch.nn.init.normal_(attention.start)
    found = attention(torch.randn(1, 4, 3, 3), torch.randn(1, 3, 3, 3))
    torch.testing.assert_close(found[0, :, 0, 0], attention.start[2:])


@torch.no_grad()
def test_a_cell_knows_its_row_and_column_in_the_whole_grid():
    """Of a picture of one value, cells far from the border look alike to convolutions, and attention tells them."""
    network = network_of("pixelsnail", SMALL, ValueGrid(1, (12, 12)))
    features = network(torch.ones(1, 1, 12, 12), None)[0]
    assert not torch.allclose(features[:, 8, 6], features[:, 9, 6], atol=1e-4)
    assert not torch.allclose(features[:, 8, 6], features[:, 8, 7], atol=1e-4)


def test_every_weight_takes_part():
    network = network_of("pixelsnail", SMALL, ValueGrid(3, (5, 4), inputs=2, condition=2))
    network(torch.randn(1, 6, 5, 4), torch.randn(1, 2, 5, 4)).square().sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()] == []


def test_a_stream_of_one_channel_is_enough():
    assert network_of("pixelsnail", {"width": 1}, ValueGrid(1, (3, 3))).features == 1
    assert PixelSNAILConfig(width=1).width == 1


def test_it_learns_stripes():
    pictures, spec = stripes(channels=1, levels=(-1.0, -0.5, 0.0, 1.0))
    section = {"network": {"kind": "pixelsnail", **SMALL, "width": 8}}
    # Perfect would be a quarter of the nats of chance: the first of four rows.
    assert trained_nats(section, spec, pictures, steps=40) < 0.6 * trained_nats(section, spec, pictures, steps=0)
