"""Priors whose codes go through hidden layers of fixed size: MADE and NADE."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from anytime_core.errors import ConfigError, UsageError
from anytime_core.priors.made.masked import assigned_degrees, connections
from anytime_core.priors.nade import model as nade
from anytime_core.priors.registry import PRIORS
from anytime_core.priors.sequence import choice
from anytime_core.priors.sequence.model import SequencePrior
from anytime_core.quantizers.base import CodeSpec

PRIME = 13
"""A number of codes that no number of units is a multiple of."""
MADE: dict[str, dict[str, Any]] = {
    "one layer": {"layers": 1, "hidden": PRIME, "direct": False},
    "uneven degrees": {"layers": 3, "hidden": PRIME + 4, "direct": False},
    "fewer units than codes": {"layers": 2, "hidden": 3, "direct": True},
    "several assignments": {"layers": 2, "hidden": 29, "masks": 3},
}
NADE: dict[str, dict[str, Any]] = {"relu": {"hidden": 11}, "sigmoid": {"hidden": 11, "activation": "sigmoid"}}
CASES = [("made", config) for config in MADE.values()] + [("nade", config) for config in NADE.values()]


def prior_of(kind: str, config: dict[str, Any], length: int = PRIME, classes: int = 0) -> Any:
    spec = CodeSpec(length=length, size=6, dim=3, grid=(length,), classes=classes)
    section = PRIORS.section_of(kind).model_validate({"kind": kind, "embedding": 5, "features": 4} | config)
    section.check(spec)
    prior = PRIORS[kind](section, spec, torch.randn(length, 6, 3)).eval()
    for weights in prior.parameters():  # so that all matters
        torch.nn.init.normal_(weights, std=0.3)
    return prior


@pytest.mark.parametrize(("kind", "config"), CASES)
def test_features_depend_on_every_input_up_to_their_position_and_on_no_other(kind, config):
    inputs = torch.randn(64, PRIME, 5, requires_grad=True)
    prior = prior_of(kind, config)
    for weights in prior.parameters():
        weights.data.abs_()  # so that no unit is zero for all of them
    features = prior.features(inputs)
    seen = torch.zeros(PRIME, PRIME, dtype=torch.bool)
    for position in range(PRIME):
        (gradient,) = torch.autograd.grad(features[:, position].sum(), inputs, retain_graph=True)
        seen[position] = gradient.abs().amax((0, 2)) > 0
    assert torch.equal(seen, torch.ones(PRIME, PRIME, dtype=torch.bool).tril())


@torch.no_grad()
@pytest.mark.usefixtures("recorded_graphs")
@pytest.mark.parametrize("length", [1, 2, 3, PRIME, 17])
@pytest.mark.parametrize(("kind", "config"), CASES)
def test_every_engine_gives_the_logits_of_one_pass(kind, config, length):
    prior = prior_of(kind, {**config, "hidden": max(config["hidden"], length)}, length, classes=3)
    codes, labels = torch.randint(6, (5, length)), torch.tensor([0, 1, 2, 0, 1])
    wanted = prior.conditionals(codes[:, :-1], labels)
    for name in ("eager", "graph", *(["numba"] if config.get("masks", 1) == 1 else [])):
        stepper = prior.engines()[name](prior, "float32").open(labels, 5, length)
        for position in range(length):
            previous = codes[:, position - 1]  # at position 0 anything, and not looked at
            if name == "graph":
                found = stepper.step_at(torch.tensor([position]), previous)
            else:
                found = stepper.step(position, previous if position else None)
            torch.testing.assert_close(found, wanted[:, position], atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("kind", ["made", "nade"])
@pytest.mark.parametrize(
    ("device", "precision", "batch", "samples", "known", "expected"),
    [
        ("cpu", "float32", 16, 16, {"compiled", "loaded"}, "numba"),
        ("cpu", "float32", 16, 16, {"compiled"}, "eager"),
        ("cpu", "float32", 16, 10**5, {"compiled"}, "numba"),
        ("cpu", "float32", 16, 10**5, {"loaded"}, "eager"),
        ("cpu", "float32", 1, 10**6, set(), "numba"),
        ("cpu", "float32", 17, 10**9, {"compiled", "loaded"}, "eager"),
        ("cpu", "bfloat16", 1, 10**6, {"compiled", "loaded"}, "eager"),
        ("cuda", "float32", 1, 10**6, {"compiled", "loaded"}, "graph"),
    ],
)
def test_auto_is_the_compiled_step_for_small_batches_on_the_cpu_that_pay_for_it(
    monkeypatch, kind, device, precision, batch, samples, known, expected
):
    prior = prior_of(kind, {"hidden": PRIME})
    monkeypatch.setattr(type(prior), "device", torch.device(device))
    monkeypatch.setattr(choice, "is_compiled", lambda *kernel: "compiled" in known)
    monkeypatch.setattr(choice, "sys", SimpleNamespace(modules={"numba"} if "loaded" in known else set()))
    assert prior.fastest_engine(precision, batch, prior.multiply_adds * samples * PRIME) == expected


# MADE


def test_the_compiled_step_has_one_assignment():
    prior = prior_of("made", MADE["several assignments"])
    with pytest.raises(UsageError, match=r"engine 'numba' has no prior.masks=3, only 1: use --engine eager"):
        prior.engines()["numba"](prior, "float32")
    assert prior.fastest_engine("float32", 1, 1e15) == "eager"


@pytest.mark.parametrize(("positions", "hidden"), [(13, 13), (13, 17), (13, 64), (13, 3), (1, 4)])
def test_degrees_are_spread_evenly_in_every_assignment(positions, hidden):
    assigned = assigned_degrees(positions, hidden, layers=3, assignments=4)
    assert assigned.shape == (4, 3, hidden)
    for degrees in assigned.flatten(0, 1):
        counts = degrees.bincount(minlength=positions)
        assert counts.max() - counts.min() <= 1
        assert counts[0]  # what says something of the first code
    assert positions == 1 or len({tuple(degrees.flatten().tolist()) for degrees in assigned}) == 4


def test_what_several_assignments_say_is_averaged_as_probabilities():
    prior = prior_of("made", MADE["several assignments"])
    codes = torch.randint(6, (4, PRIME))
    inputs = prior.inputs(codes[:, :-1], None)
    each = [
        SequencePrior.logits(prior, prior.masked_features(inputs, degrees)).softmax(-1) for degrees in prior.degrees
    ]
    torch.testing.assert_close(prior.conditionals(codes[:, :-1], None).softmax(-1), torch.stack(each).mean(0))
    assert (each[0] - each[1]).abs().max() > 0.01


def test_training_uses_the_assignment_that_is_drawn():
    prior = prior_of("made", {**MADE["several assignments"], "dropout": 0}).train()
    codes = torch.randint(6, (4, PRIME))
    losses = [prior(codes, None, {"assignment": torch.tensor([number])}) for number in range(3)]
    assert prior.draws(4)["assignment"].shape == (1,)
    drawn = prior(codes, None)  # of one assignment, drawn once
    nearest, *others = sorted((drawn - loss).abs().max().item() for loss in losses)
    assert nearest < 1e-5 < 1e-3 < min(others)


def test_masked_weights_have_no_gradient_and_decay_alone():
    prior = prior_of("made", MADE["uneven degrees"]).train()
    prior(torch.randint(6, (64, PRIME)), None).sum().backward()
    before = torch.arange(PRIME).repeat_interleave(5)
    for layer, degrees in zip(prior.layers, prior.degrees[0], strict=True):
        assert not layer.weight.grad[~connections(before, degrees)].any()
        before = degrees


@pytest.mark.parametrize(
    ("config", "length", "message"),
    [
        ({"hidden": 12}, 13, "prior.hidden=12 units are too few for 13 codes, .*use prior.hidden=13 "),
        ({"hidden": 12, "direct": True}, 13, None),
        (
            {"direct": True},
            784,
            "prior.direct=true takes 629407744 weights for 784 codes: use prior.direct=false, or smaller ",
        ),
        ({"direct": True, "embedding": 4, "features": 4}, 784, None),
    ],
)
def test_sizes_that_do_not_fit_the_codes_are_refused_with_a_way_out(config, length, message):
    section = PRIORS.section_of("made").model_validate({"kind": "made", **config})
    spec = CodeSpec(length=length, size=6, dim=3, grid=(length,))
    with nullcontext() if message is None else pytest.raises(ConfigError, match=message):
        section.check(spec)


# NADE


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@torch.no_grad()
def test_nade_is_the_recursion_of_the_paper(activation):
    prior = prior_of("nade", NADE[activation])
    inputs = torch.randn(3, PRIME, 5)
    features = prior.features(inputs)
    for row in range(3):
        a = prior.hidden_bias.clone()
        for position in range(PRIME):
            a = a + inputs[row, position] @ prior.to_hidden[position]
            h = torch.relu(a) if activation == "relu" else 1 / (1 + torch.exp(-a))
            wanted = prior.feature_bias[position] + h @ prior.to_features[position]
            torch.testing.assert_close(features[row, position], wanted, atol=1e-5, rtol=1e-5)


def test_a_large_batch_goes_through_nade_in_parts(monkeypatch):
    prior, inputs = prior_of("nade", NADE["relu"]), torch.randn(7, PRIME, 5)
    found = {}
    for at_once in (7, 2):
        monkeypatch.setattr(nade, "_HIDDEN_AT_ONCE", at_once * PRIME * 11)
        prior.zero_grad()
        features = prior.features(inputs)
        features.pow(2).sum().backward()
        found[at_once] = [features.detach(), prior.to_hidden.grad, prior.to_features.grad]
    for whole, parts in zip(*found.values(), strict=True):
        torch.testing.assert_close(parts, whole)


@torch.no_grad()
def test_sums_of_nade_are_kept_in_float32_beside_weights_of_bfloat16():
    network = prior_of("nade", NADE["relu"]).incremental(torch.bfloat16)
    (sums,) = network.state(2, PRIME)
    assert sums.dtype == torch.float32
    assert network.features(torch.randn(2, 5).bfloat16(), (sums,), 0).dtype == torch.bfloat16
    assert sums.any()
