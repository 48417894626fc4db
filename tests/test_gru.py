"""The recurrent prior: it is `torch.nn.GRU`, and its dual softmax splits codes into two digits."""

from __future__ import annotations

import pytest
import torch
from drawing import codes_of

from anytime_core.errors import ConfigError
from anytime_core.priors.gru.config import GRUConfig, fine_values
from anytime_core.priors.gru.dual import DualSoftmax
from anytime_core.priors.gru.incremental import IncrementalGRU
from anytime_core.priors.gru.model import GRUPrior


@torch.no_grad()
def test_states_are_those_of_torchs_own_layers():
    prior = GRUPrior(GRUConfig(layers=3, width=8), codes_of(5, 7)).eval()
    states, reference = torch.randn(4, 5, 8), torch.nn.GRU(8, 8, num_layers=3, batch_first=True)
    for number, layer in enumerate(prior.recurrent()):
        for name, weights in layer.named_parameters():
            weights.normal_(std=0.5)
            getattr(reference, name.replace("l0", f"l{number}")).copy_(weights)
    expected, last = reference(states)
    found = states
    for layer in prior.recurrent():
        found = layer(found)
    torch.testing.assert_close(found, expected)
    network = IncrementalGRU(prior, torch.float32)
    kept, first = network.state(4, 5), prior.recurrent()[0]
    for position in range(5):
        x = torch.nn.functional.linear(states[:, position], first.weight_ih_l0, first.bias_ih_l0)
        network.features(x, kept, position)
    torch.testing.assert_close(torch.stack(kept), last)


@pytest.mark.parametrize(
    ("size", "radices", "fine"),
    [
        (256, None, 16),
        (512, None, 23),
        (7, None, 3),
        (3, (3,), 2),
        (6, (2, 3), 3),
        (65536, (256, 256), 256),
        (1000, (8, 5, 5, 5), 25),
        (5, (2, 3), 3),
        (1000, (1, 1000), 32),
    ],
)
def test_the_fine_digit_is_one_of_the_codes_or_near_the_square_root(size, radices, fine):
    assert fine_values(codes_of(2, size, radices=radices)) == fine


@pytest.mark.parametrize(("size", "radices"), [(16, None), (7, None), (5, (2, 3)), (3, (3,)), (24, (2, 3, 4))])
@torch.no_grad()
def test_a_dual_softmax_is_one_distribution_of_all_codes(size, radices):
    dual = DualSoftmax(codes_of(2, size, radices=radices), 5)
    outputs, every = torch.randn(2, 1, dual.inputs).expand(-1, size, -1), torch.arange(size).expand(2, -1)
    logits = dual(outputs)
    assert logits.shape == (2, size, size)
    torch.testing.assert_close(logits.exp().sum(-1), torch.ones(2, size))
    torch.testing.assert_close(dual.log_prob(outputs, every), logits[:, 0])


@pytest.mark.parametrize("size", [1, 2])
def test_codes_of_one_digit_have_no_dual_softmax(size):
    with pytest.raises(ConfigError, match=f"codes of {size} values have only one: use prior.dual_softmax=false"):
        GRUConfig(dual_softmax=True).check(codes_of(2, size))
    GRUConfig().check(codes_of(2, size))
