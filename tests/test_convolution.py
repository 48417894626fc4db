"""Causal dilated convolutions: what they see, their rings, and the networks that are made of them."""

from __future__ import annotations

from math import exp, tanh
from typing import Any

import pytest
import torch
from drawing import codes_of
from torch import nn

from anytime_core.errors import ConfigError
from anytime_core.priors.base import CausalPrior
from anytime_core.priors.bytenet.blocks import multiplicative_unit
from anytime_core.priors.convolution.layers import CausalConvolution, SteppedConvolution
from anytime_core.priors.registry import PRIORS
from anytime_core.priors.wavenet.config import WaveNetConfig
from anytime_core.priors.wavenet.model import WaveNetBlock

N, K, CLASSES = 32, 7, 3
LENGTHS = [1, 2, 3, 13, 17, N]
NETWORKS: dict[str, dict[str, Any]] = {
    "wavenet": {"kind": "wavenet", "layers": 6, "width": 16, "skip_channels": 24},
    "wavenet of few layers": {"kind": "wavenet", "layers": 3, "width": 16, "skip_channels": 8},
    "wavenet of three taps": {
        "kind": "wavenet",
        "layers": 5,
        "width": 16,
        "skip_channels": 8,
        "kernel": 3,
        "dilation_cycle": 2,
    },
    "bytenet": {"kind": "bytenet", "layers": 5, "width": 16},
    "bytenet of relu blocks": {"kind": "bytenet", "layers": 3, "width": 16, "kernel": 2, "block": "relu"},
}


def prior_of(kind: str, **sizes: Any) -> CausalPrior:
    """A prior whose biases and last layer are not zero."""
    torch.manual_seed(0)
    prior = PRIORS[kind](PRIORS.section_of(kind)(**sizes), codes_of(N, K, classes=CLASSES)).eval()
    for parameter in prior.parameters():
        nn.init.normal_(parameter, std=0.5)
    return prior


@pytest.mark.parametrize("sizes", NETWORKS.values(), ids=NETWORKS.keys())
def test_features_depend_on_the_whole_receptive_field_and_on_nothing_else(sizes):
    prior = prior_of(**sizes).double()
    inputs = torch.randn(1, N, prior.position.embedding_dim, dtype=torch.float64, requires_grad=True)
    features = prior.features(inputs)
    field = prior.config.receptive_field(N)
    for position in range(N):
        (gradient,) = torch.autograd.grad(features[0, position].sum(), inputs, retain_graph=True)
        seen = gradient[0].abs().sum(1).nonzero().flatten()
        assert seen.tolist() == list(range(max(0, position - field + 1), position + 1))


@pytest.mark.parametrize(
    ("sizes", "dilations", "field"),
    [
        ({"layers": 6}, [1, 2, 4, 8, 16, 1], 33),
        ({"layers": 3}, [1, 2, 4], 8),
        ({"layers": 5, "kernel": 3}, [1, 2, 4, 8, 1], 33),
        ({"layers": 4, "kernel": 4, "dilation_cycle": 2}, [1, 2, 1, 2], 19),
    ],
)
def test_dilations_double_until_the_cycle_ends(sizes, dilations, field):
    config = WaveNetConfig(**sizes)
    assert config.dilations(N) == dilations
    assert config.receptive_field(N) == field


@pytest.mark.parametrize("length", [1, 2, 3, 31, 32, 33, 64])
@pytest.mark.parametrize("kernel", [2, 3, 5])
def test_by_default_every_code_depends_on_all_codes_before_it_and_no_dilation_is_too_long(length, kernel):
    config = WaveNetConfig(layers=12, kernel=kernel)
    config.check(codes_of(length, K))
    assert config.receptive_field(length) >= length


@pytest.mark.parametrize("kind", ["wavenet", "bytenet"])
def test_dilations_beyond_the_codes_are_refused_with_the_longest_that_fits(kind):
    section = PRIORS.section_of(kind)
    section(layers=8, dilation_cycle=5).check(codes_of(17, K))
    section(layers=4, dilation_cycle=6).check(codes_of(16, K))
    with pytest.raises(ConfigError, match=r"dilation_cycle=6 .* up to 32, .* 32 codes .*: use at most 5, or null"):
        section(layers=8, dilation_cycle=6).check(codes_of(32, K))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("kernel", [2, 3, 4])
@pytest.mark.parametrize("dilation", [1, 2, 3, 5, 8])
@torch.inference_mode()
def test_a_ring_gives_what_the_convolution_of_the_whole_sequence_gives(dilation, kernel, length):
    torch.manual_seed(0)
    convolution = CausalConvolution(4, 6, kernel, dilation)
    nn.init.normal_(convolution.bias)
    x = torch.randn(5, length, 4)
    expected = convolution(x)
    convolved = nn.functional.conv1d(
        nn.functional.pad(x.mT, ((kernel - 1) * dilation, 0)),
        convolution.weight.unflatten(1, (kernel, 4)).flip(1).mT,
        convolution.bias,
        dilation=dilation,
    )
    torch.testing.assert_close(expected, convolved.mT)
    stepped = SteppedConvolution(convolution, torch.float32)
    rings = [stepped.ring(5, length), stepped.ring(5, length)]
    assert rings[0].shape[1] * rings[0].shape[2] <= 4 * min(length - 1 + dilation, (kernel - 1) * dilation)
    for position in range(length):
        for ring, where in zip(rings, (position, torch.tensor([position])), strict=True):
            found = stepped.step(x[:, position], ring, where)
            torch.testing.assert_close(found, expected[:, position])


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("sizes", NETWORKS.values(), ids=NETWORKS.keys())
@torch.inference_mode()
def test_steps_are_the_conditionals_at_every_position_also_after_rows_have_left(sizes, length, batch):
    prior = prior_of(**sizes)
    codes, labels = torch.randint(K, (batch, length)), torch.randint(CLASSES, (batch,))
    expected = prior.conditionals(codes[:, :-1], labels)
    assert expected.std() > 0.3
    stepper = prior.engines()["eager"](prior, "float32").open(labels, batch, length)
    rows = torch.arange(0, batch, 2)
    for position in range(length):
        if position == length // 2:
            stepper.keep(rows)
            codes, expected = codes[rows], expected[rows]
        logits = stepper.step(position, codes[:, position - 1] if position else None)
        torch.testing.assert_close(logits, expected[:, position], rtol=0, atol=1e-4)


@pytest.mark.parametrize("sizes", NETWORKS.values(), ids=NETWORKS.keys())
def test_the_numbers_that_are_kept_are_those_of_the_rings(sizes):
    prior = prior_of(**sizes)
    state = prior.incremental(torch.float32).state(3, N)
    assert 3 * prior.kept_numbers == sum(part.numel() for part in state)


def test_a_wavenet_block_is_the_gate_of_the_paper():
    block = WaveNetBlock(WaveNetConfig(width=1, skip_channels=1, layers=1), dilation=1).eval()
    # Rows: filter, gate; columns: the newest tap, the one before.
    block.gates.weight.data = torch.tensor([[0.5, -1.0], [2.0, 0.25]])
    block.gates.bias.data = torch.tensor([0.1, -0.2])
    block.outputs.weight.data = torch.tensor([[3.0], [-2.0]])
    stream = torch.tensor([[[0.4, 10.0], [0.8, 20.0]]])
    expected = []
    for now, before, skips in ((0.4, 0.0, 10.0), (0.8, 0.4, 20.0)):
        z = tanh(0.5 * now - before + 0.1) / (1 + exp(-(2 * now + 0.25 * before - 0.2)))
        expected.append([now + 3 * z, skips - 2 * z])
    torch.testing.assert_close(block(stream)[0], torch.tensor(expected))


def test_a_multiplicative_unit_is_that_of_the_paper():
    x, found = torch.tensor([0.7]), torch.tensor([0.5, -1.0, 2.0, 0.3])
    first, second, third = (1 / (1 + exp(-value)) for value in (0.5, -1.0, 2.0))
    expected = first * tanh(second * 0.7 + third * tanh(0.3))
    torch.testing.assert_close(multiplicative_unit(x, found), torch.tensor([expected]))
