"""Laws of the prior, the noise and the engines."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from anytime_core.config import TransformerConfig
from anytime_core.errors import UsageError
from anytime_core.priors import TransformerPrior, build_prior
from anytime_core.sampling.draw import Filter, draw_codes
from anytime_core.sampling.engines import ENGINES
from anytime_core.sampling.noise import gumbel_noise

N, K, CLASSES = 12, 20, 3
RUNNABLE = ("plain", "eager", "numba")


def build(*, classes: int = CLASSES, vectors: str = "shared") -> TransformerPrior:
    torch.manual_seed(0)
    shape = {"none": None, "shared": (K, 5), "per position": (N, K, 5)}[vectors]
    prior = build_prior(
        TransformerConfig(layers=2, width=32, heads=4),
        code_length=N,
        codebook_size=K,
        classes=classes,
        code_vectors=None if shape is None else torch.randn(shape),
    )
    with torch.no_grad():  # freshly initialised logits are nearly flat, which would hide differences
        for parameter in prior.parameters():
            parameter.mul_(8 if parameter.ndim > 1 else 1)
        if shape is not None:
            prior.to_vector.weight.normal_(std=0.2)
    return prior.eval()


def draw(engine: str, prior: TransformerPrior, length: int, *, seed=0, indices=range(8), filtering=None, stop=None):
    labels = torch.tensor([index % CLASSES for index in indices]) if prior.classes else None
    noise = gumbel_noise(seed, list(indices), length, K)
    for codes in ENGINES[engine](prior, "float32").draw(labels, noise, filtering or Filter()):
        if codes.shape[1] == stop:
            break
    return codes.clone()


@pytest.mark.parametrize("vectors", ["none", "shared", "per position"])
@pytest.mark.parametrize("classes", [0, CLASSES])
@pytest.mark.parametrize("filtering", [Filter(), Filter(0.7, top_k=5), Filter(top_p=0.8), Filter(temperature=0)])
@pytest.mark.parametrize("engine", [name for name in RUNNABLE if name != "plain"])
def test_every_engine_draws_the_codes_of_the_plain_one(engine, vectors, classes, filtering):
    prior = build(classes=classes, vectors=vectors)
    expected = draw("plain", prior, N, filtering=filtering)
    assert len(expected.unique(dim=0)) > 1 or filtering.temperature == 0
    assert torch.equal(draw(engine, prior, N, filtering=filtering), expected)


@pytest.mark.parametrize("engine", RUNNABLE)
@given(length=st.integers(1, N), seed=st.integers(0, 2**63 - 1))
@settings(max_examples=15, deadline=None)
def test_codes_at_a_smaller_budget_are_the_first_ones_at_a_larger_budget(engine, length, seed):
    prior = build()
    assert torch.equal(draw(engine, prior, length, seed=seed), draw(engine, prior, N, seed=seed)[:, :length])


@pytest.mark.parametrize("engine", RUNNABLE)
def test_a_sample_follows_from_the_seed_and_its_index_alone(engine):
    prior = build()
    together = draw(engine, prior, N, indices=range(9))
    for index in range(9):
        assert torch.equal(draw(engine, prior, N, indices=[index])[0], together[index])


@pytest.mark.parametrize("engine", RUNNABLE)
def test_a_stopped_engine_returns_what_it_has_drawn(engine):
    prior = build()
    assert torch.equal(draw(engine, prior, N, stop=4), draw(engine, prior, 4))


def test_noise_is_standard_gumbel_and_differs_between_seeds_samples_and_positions():
    noise = gumbel_noise(7, range(200), 10, 50)
    assert noise.mean().item() == pytest.approx(0.5772, abs=0.02)
    assert noise.var().item() == pytest.approx(torch.pi**2 / 6, abs=0.05)
    assert len(noise.flatten(0, 1).unique(dim=0)) == 200 * 10
    assert not torch.equal(noise, gumbel_noise(8, range(200), 10, 50))


def test_drawing_with_noise_follows_the_softmax():
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0])
    codes = draw_codes(logits.expand(40_000, 4), gumbel_noise(0, range(40_000), 1, 4)[:, 0], Filter(temperature=0.5))
    frequencies = codes.bincount(minlength=4) / len(codes)
    torch.testing.assert_close(frequencies, (logits / 0.5).softmax(0), rtol=0, atol=0.01)


@pytest.mark.parametrize(
    ("filtering", "allowed"),
    [
        (Filter(top_k=2), {0, 1}),
        (Filter(top_p=0.5), {0}),
        (Filter(top_p=0.6), {0, 1}),
        (Filter(top_p=1.0), {0, 1, 2, 3}),
        (Filter(top_k=99), {0, 1, 2, 3}),
        (Filter(temperature=0), {0}),
    ],
)
def test_filters_keep_the_most_likely_codes(filtering, allowed):
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()
    codes = draw_codes(logits.expand(2000, 4), gumbel_noise(0, range(2000), 1, 4)[:, 0], filtering)
    assert set(codes.tolist()) == allowed


@pytest.mark.parametrize(
    "values", [{"temperature": -1}, {"temperature": float("nan")}, {"top_k": 0}, {"top_p": 0}, {"top_p": 1.5}]
)
def test_filters_out_of_range_name_the_value(values):
    with pytest.raises(UsageError, match=str(next(iter(values.values())))):
        Filter(**values)


@pytest.mark.parametrize("classes", [0, CLASSES])
def test_log_prob_is_what_the_logits_say_of_each_code_given_those_before(classes):
    prior = build(classes=classes)
    codes = torch.randint(K, (5, N), generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 2, 0, 1]) if classes else None
    log_prob = prior.log_prob(codes, labels)
    for position in range(N):
        logits = prior.logits(codes[:, :position], labels)[:, -1]
        expected = logits.log_softmax(-1).gather(1, codes[:, position : position + 1])[:, 0]
        torch.testing.assert_close(log_prob[:, position], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(prior(codes, labels), -log_prob.mean(1))


def test_log_prob_of_all_sequences_sums_to_one():
    torch.manual_seed(0)
    prior = build_prior(
        TransformerConfig(layers=1, width=8, heads=2), code_length=3, codebook_size=4, classes=0, code_vectors=None
    ).eval()
    every = torch.cartesian_prod(*[torch.arange(4)] * 3)
    assert prior.log_prob(every, None).sum(1).exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_later_codes_do_not_change_earlier_predictions():
    prior = build()
    codes = torch.randint(K, (2, N), generator=torch.Generator().manual_seed(2))
    changed = codes.clone()
    changed[:, 6:] = (changed[:, 6:] + 1) % K
    labels = torch.tensor([0, 1])
    torch.testing.assert_close(prior.log_prob(codes, labels)[:, :6], prior.log_prob(changed, labels)[:, :6])


def test_a_conditional_prior_uses_its_label_and_insists_on_one():
    prior = build()
    codes = torch.zeros(1, N, dtype=torch.int64)
    assert not torch.allclose(prior.log_prob(codes, torch.tensor([0])), prior.log_prob(codes, torch.tensor([1])))
    with pytest.raises(ValueError, match="labels"):
        prior.log_prob(codes, None)


def test_the_scale_and_place_of_the_code_vectors_do_not_matter():
    table, codes = torch.randn(K, 5, generator=torch.Generator().manual_seed(0)), torch.arange(N)[None] % K
    logits = []
    for vectors in (table, table * 1000 + 70):
        torch.manual_seed(0)
        prior = TransformerPrior(
            TransformerConfig(layers=1, width=8, heads=2), code_length=N, codebook_size=K, code_vectors=vectors
        ).eval()
        torch.nn.init.normal_(prior.to_vector.weight)
        logits.append(prior.logits(codes[:, :-1], None))
    torch.testing.assert_close(*logits, atol=1e-3, rtol=1e-3)
    assert logits[0].std() > 0.1


def test_every_position_is_told_the_class():
    prior = build()
    codes = torch.zeros(1, N - 1, dtype=torch.int64)
    seen = []
    hook = prior.blocks[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for label in (0, 1):
        prior.logits(codes, torch.tensor([label]))
    hook.remove()
    assert ((seen[0] - seen[1]).abs().amax(-1) > 0).all()
