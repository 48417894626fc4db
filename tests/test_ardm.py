"""Order-agnostic priors: what they model, how they are drawn from, and what they refuse."""

from __future__ import annotations

import itertools
import json
import math

import pytest
import torch
from conftest import AGNOSTIC, TINY, tiny_config
from drawing import codes_of, gumbel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from anytime_core.config_parsing import parse_config
from anytime_core.errors import ConfigError, UsageError
from anytime_core.evaluation.bound import bits_by_calls, bits_of_plan
from anytime_core.priors.any_order.calls import PartialCodes
from anytime_core.priors.any_order.digits import Digits, in_base
from anytime_core.priors.any_order.plan import Plan, make_plan
from anytime_core.priors.ardm.config import ARDMConfig
from anytime_core.priors.ardm.model import ARDMPrior
from anytime_core.quantizers.fsq import FiniteScalarQuantizer
from anytime_core.record import read_record
from anytime_core.run import load
from anytime_core.sampling.in_calls import draw_in_calls, sample_orders
from anytime_core.sampling.options import SamplingOptions
from anytime_core.training.train import train_stages
from anytime_core.weights import load_prior, save_prior
from anytime_image.config import ImageConfig

N, K, CLASSES = 9, 20, 3
DIGITS = {"one": None, "base 3": in_base(K, 3), "two radices": Digits(K, (5, 4))}


def build(
    digits: Digits | None = None,
    *,
    length: int = N,
    size: int = K,
    classes: int = CLASSES,
    vectors: str = "shared",
    **settings: object,
) -> ARDMPrior:
    torch.manual_seed(0)
    shape = {"none": None, "shared": (size, 5), "per position": (length, size, 5)}[vectors]
    radices = None if digits is None else digits.radices
    prior = ARDMPrior(
        ARDMConfig(layers=2, width=32, heads=4, dropout=0.0, base=None if digits is None else "levels", **settings),
        codes_of(length, size, classes=classes, radices=radices),
        None if shape is None else torch.randn(shape),
    )
    with torch.no_grad():  # freshly initialised logits are nearly flat, which would hide differences
        for parameter in prior.parameters():
            parameter.normal_(std=0.35)
    return prior.eval()


def in_order(certain: bool) -> SamplingOptions:
    return SamplingOptions(plan="certain" if certain else "optimal")


def blank(prior: ARDMPrior, batch: int, length: int, seed: int = 0) -> PartialCodes:
    choices = sum(prior.digits.radices)
    return PartialCodes(
        tokens=torch.zeros(batch, prior.code_length, dtype=torch.int64),
        order=sample_orders(seed, range(batch), length),
        noise=gumbel(seed, range(batch), length, choices).whole(),
        labels=torch.arange(batch) % prior.classes if prior.classes else None,
    )


def draw(
    prior: ARDMPrior, engine: str, batch: int, length: int, plan: Plan, *, certain: bool = False, seed: int = 0
) -> Tensor:
    made = prior.engines()[engine](prior, "float32")
    codes, calls = draw_in_calls(made, blank(prior, batch, length, seed), 0, plan, in_order(certain))
    assert calls == plan.calls
    return codes


# Digits


@given(size=st.integers(2, 400), base=st.integers(2, 30))
@settings(deadline=None)
def test_digits_in_a_base_number_every_code_once(size, base):
    digits = in_base(size, base)
    table = digits.digit_table()
    weights = torch.tensor([base**power for power in reversed(range(len(digits)))])
    assert torch.equal((table * weights.unsqueeze(1)).sum(0), torch.arange(size))
    assert (table >= 0).all()
    assert (table < base).all()
    tokens = digits.token_table()
    for stage in range(len(digits)):
        assert torch.equal(digits.next_tokens(tokens[stage], stage) + table[stage], tokens[stage + 1])
    assert torch.equal(tokens[-1], digits.first_tokens[-1] + torch.arange(size))
    assert tokens.max() == digits.tokens - 1


@given(size=st.integers(2, 100), base=st.integers(2, 7))
@settings(deadline=None)
def test_values_that_no_code_has_are_impossible(size, base):
    digits = in_base(size, base)
    tokens = digits.token_table()
    for stage in range(len(digits)):
        beginnings = tokens[stage].unique()
        followed = {(int(a), int(b)) for a, b in zip(tokens[stage], digits.digit_table()[stage], strict=True)}
        impossible = digits.impossible(beginnings, stage)
        possible = torch.ones(len(beginnings), base, dtype=torch.bool) if impossible is None else ~impossible
        found = {(int(beginnings[row]), int(value)) for row, value in possible.nonzero()}
        assert found == followed


def test_the_levels_of_fsq_codes_are_their_digits():
    quantizer = FiniteScalarQuantizer(4, 6, levels=(5, 3, 2))
    digits = Digits(30, quantizer.radices)
    codes = torch.arange(30)
    assert torch.equal(digits.digit_table().flip(0).T, codes.unsqueeze(-1) // quantizer.radix % quantizer.levels)


# The model


@pytest.mark.parametrize("vectors", ["none", "shared", "per position"])
@pytest.mark.parametrize("digits", DIGITS.values(), ids=DIGITS.keys())
def test_what_is_known_of_other_positions_matters_and_what_is_not_known_does_not(digits, vectors):
    prior = build(digits, vectors=vectors)
    labels = torch.zeros(1, dtype=torch.int64)
    tokens = torch.zeros(1, N, dtype=torch.int64)
    nothing = prior.logits(tokens, 0, labels)
    tokens[0, 4] = prior.token_of[-1, 7]
    something = prior.logits(tokens, 0, labels)
    tokens[0, 4] = prior.token_of[-1, 19]
    other = prior.logits(tokens, 0, labels)
    rest = [position for position in range(N) if position != 4]
    for first, second in itertools.combinations((nothing, something, other), 2):
        assert ((first - second)[0, rest].abs().amax(-1) > 1e-4).all()
    position = prior.position.weight[6].clone()
    with torch.no_grad():
        prior.position.weight[6].normal_()  # of a position that nothing is known of
    changed = prior.logits(tokens, 0, labels)
    unasked = [position for position in range(N) if position != 6]
    torch.testing.assert_close(changed[0, unasked], other[0, unasked])
    assert not torch.allclose(changed[0, 6], other[0, 6])
    with torch.no_grad():
        prior.position.weight[6] = position


def test_the_loss_is_the_bound_and_the_share_of_plain_cross_entropy():
    codes, labels = torch.randint(0, K, (512, N)), torch.zeros(512, dtype=torch.int64)
    prior = build(cross_entropy=0.0)
    torch.manual_seed(3)
    loss = prior(codes, labels)
    torch.manual_seed(3)
    weighted = build(cross_entropy=0.5).eval()
    torch.manual_seed(3)
    more = weighted(codes, labels)
    assert loss.shape == (512,)
    assert (more > loss).all()
    torch.manual_seed(3)
    terms = prior.bound_terms(codes, labels, prior._lengths(512))
    torch.testing.assert_close(loss, terms.means)
    torch.testing.assert_close(more - loss, 0.5 * terms.nats.sum(1) / N)


def test_training_sees_prefixes_only_in_its_share_and_tracks_whole_sequences():
    prior = build(prefix_share=0.5).train()
    torch.manual_seed(0)
    lengths = torch.cat([prior._lengths(100) for _ in range(20)])
    assert 0.4 < (lengths < N).float().mean() < 0.5  # a random prefix may be all of them
    assert lengths.min() == 1
    assert prior.eval()._lengths(100).unique().tolist() == [N]
    prior.train()
    prior(torch.randint(0, K, (256, N)), torch.zeros(256, dtype=torch.int64)).mean().backward()
    assert prior.step_losses.isfinite().all()
    # What is drawn last, with all others known, has been trained for no longer than the first: only the means count.
    before = prior.step_losses.clone()
    prior.eval()(torch.randint(0, K, (64, N)), torch.zeros(64, dtype=torch.int64))
    assert torch.equal(before, prior.step_losses)


def test_losses_of_a_prefix_follow_the_share_that_is_known_and_gaps_are_filled():
    prior = build()
    prior.step_losses = torch.tensor([[9.0, math.nan, 7, 6, 5, 4, math.nan, math.nan, 1]])
    torch.testing.assert_close(prior.losses(), torch.tensor([[9.0, 8, 7, 6, 5, 4, 3, 2, 1]]))
    torch.testing.assert_close(prior.losses(3), torch.tensor([[9.0, 6, 3]]))
    prior.step_losses = torch.full((1, N), math.nan)
    assert (prior.losses().diff() < 0).all()


@pytest.mark.parametrize("digits", DIGITS.values(), ids=DIGITS.keys())
def test_a_prior_is_the_same_when_it_is_read_back(digits, tmp_path):
    prior = build(digits)
    prior.step_losses.uniform_()
    save_prior(tmp_path / "prior.safetensors", prior, torch.zeros(K, 5))
    loaded = load_prior(tmp_path / "prior.safetensors")
    tokens, labels = prior.token_of[-1, torch.arange(N).unsqueeze(0)], torch.tensor([1])
    tokens[0, 3:] = 0
    assert torch.equal(prior.logits(tokens, 0, labels), loaded.logits(tokens, 0, labels))
    assert torch.equal(prior.losses(), loaded.losses())
    assert loaded.digits == prior.digits


def test_a_label_is_needed_where_there_are_classes():
    with pytest.raises(ValueError, match="labels"):
        build().logits(torch.zeros(1, N, dtype=torch.int64), 0, None)


# Drawing


@pytest.mark.parametrize("vectors", ["none", "shared", "per position"])
@pytest.mark.parametrize("digits", DIGITS.values(), ids=DIGITS.keys())
@pytest.mark.parametrize("certain", [False, True], ids=["in order", "most certain first"])
@pytest.mark.parametrize("time_input", [False, True], ids=["time-free", "told the time"])
def test_engines_draw_the_codes_of_the_plain_one(digits, vectors, certain, time_input):
    prior = build(digits, vectors=vectors, time_input=time_input)
    stages = len(prior.digits)
    for length, calls in itertools.product((N, 5), (stages, 2 * stages + 1, None)):
        plan = make_plan(prior.losses(length), calls)
        plain, eager = (draw(prior, name, 12, length, plan, certain=certain) for name in ("plain", "eager"))
        assert torch.equal(plain, eager)
        assert plain.max() < K
        assert (plain[:, length:] == 0).all()


@pytest.mark.parametrize("digits", DIGITS.values(), ids=DIGITS.keys())
@pytest.mark.parametrize("certain", [False, True], ids=["in order", "most certain first"])
def test_graphs_draw_the_codes_of_the_plain_engine(graph_device, digits, certain):
    prior = build(digits).to(graph_device)
    plan = make_plan(prior.losses(), 2 * len(prior.digits))
    drawn = {}
    for name in ("plain", "graph"):
        engine = prior.engines()[name](prior, "float32")
        for seed in (0, 1):  # the second batch replays what the first one has captured
            given = blank(prior, 12, N, seed)
            partial = PartialCodes(
                *(value.to(graph_device) for value in (given.tokens, given.order, given.noise, given.labels))
            )
            drawn[name, seed], _ = draw_in_calls(engine, partial, 0, plan, in_order(certain))
    for seed in (0, 1):
        assert torch.equal(drawn["plain", seed], drawn["graph", seed])


def test_calls_beyond_those_that_are_captured_start_their_kernels_each_time(recorded_graphs, monkeypatch):
    monkeypatch.setattr("anytime_core.priors.any_order.calls._MOST_GRAPHS", 2)
    prior = build()
    plan = make_plan(prior.losses(), 5)
    engine = prior.engines()["graph"](prior, "float32")
    for seed in (0, 1):
        partial = blank(prior, 12, N, seed)
        codes, _ = draw_in_calls(engine, partial, 0, plan, in_order(False))
        assert torch.equal(codes, draw(prior, "plain", 12, N, plan, seed=seed))
    with engine.open(blank(prior, 12, N)) as buffers:
        assert len(buffers.graphs) == 2


@pytest.mark.parametrize(
    ("device", "batch", "batches", "expected"),
    [("cpu", 4, 9, "eager"), ("cuda", 4, 9, "graph"), ("cuda", 4, 2, "eager"), ("cuda", 10**9, 9, "eager")],
)
def test_auto_captures_small_calls_that_are_made_for_several_batches(monkeypatch, device, batch, batches, expected):
    monkeypatch.setattr(ARDMPrior, "device", torch.device(device))
    prior = build()
    job = prior.multiply_adds * prior.code_length * batch * batches
    assert prior.fastest_engine("float32", batch, job) == expected


def test_orders_follow_from_seed_and_index_and_fewer_codes_keep_theirs():
    orders = sample_orders(4, [0, 1, 7], N)
    assert torch.equal(orders.sort(1).values, torch.arange(N).expand(3, -1))
    assert torch.equal(sample_orders(4, [7], N)[0], orders[2])
    assert not torch.equal(orders[0], orders[1])
    assert not torch.equal(sample_orders(5, [0], N)[0], orders[0])
    for row, short in zip(orders, sample_orders(4, [0, 1, 7], 5), strict=True):
        assert torch.equal(row[row < 5], short)
    first = sample_orders(0, range(4000), N)[:, 0].bincount(minlength=N)
    assert first.min() > 4000 / N * 0.8


def test_most_certain_codes_come_first():
    prior = build()
    partial = blank(prior, 6, N)
    before = prior.logits(partial.tokens, 0, partial.labels)
    entropy = torch.special.entr(before.softmax(-1)).sum(-1)
    engine = prior.engines()["eager"](prior, "float32")
    drawn = []

    def stop(calls: int, codes: int) -> bool:
        drawn.append(partial.tokens.clone())
        return False

    draw_in_calls(engine, partial, 0, Plan(((3, 6),)), in_order(True), on_call=stop)
    for row, tokens in enumerate(drawn[0]):
        assert set(tokens.nonzero().squeeze(1).tolist()) == set(entropy[row].argsort()[:3].tolist())


def test_who_stops_early_gets_the_rest_by_one_call_a_digit():
    prior = build(in_base(K, 5))
    calls_made = []
    engine = prior.engines()["eager"](prior, "float32")
    codes, calls = draw_in_calls(
        engine,
        blank(prior, 4, N),
        0,
        make_plan(prior.losses(), None),
        SamplingOptions(),
        on_call=lambda calls, whole: calls_made.append((calls, whole)) or calls >= 3,
    )
    assert calls == 5  # three of the first digit, its rest, and the second digit
    assert calls_made == [(1, 0), (2, 0), (3, 0), (4, 0), (5, N)]
    assert (codes >= 0).all()


def test_fewer_calls_need_more_bits():
    prior = build(prefix_share=0.0)
    codes = torch.randint(0, K, (64, N), generator=torch.Generator().manual_seed(0))
    batches = [(codes, torch.zeros(64, dtype=torch.int64))] * 20
    curve = bits_by_calls(prior, batches, [1, 3, N])
    assert set(curve) == {"optimal", "linear"}
    for spacing, points in curve.items():
        for calls, bits in points.items():
            plan = make_plan(prior.losses(), calls, spacing)
            estimate = bits_of_plan(prior, batches, N, plan)
            assert bits == pytest.approx(estimate.per_code, abs=4 * estimate.standard_error + 0.02)
    exact = -prior.log_prob(codes.repeat(60, 1), batches[0][1].repeat(60), torch.Generator().manual_seed(5))
    assert curve["optimal"][N] == pytest.approx(exact.mean().item() / math.log(2), rel=0.02)


# A run


def test_a_run_says_what_its_prior_needs(agnostic_folder, agnostic_run):
    validation = read_record(agnostic_folder).stages["prior"].validation
    assert len(validation.bits_per_step) == 1
    assert len(validation.bits_per_step[0]) == 8
    assert validation.standard_error > 0
    assert 0 < validation.bits_per_code < 8
    assert isinstance(agnostic_run.prior, ARDMPrior)


def test_samples_depend_on_seed_index_and_calls_not_on_the_batch(agnostic_run):
    whole = agnostic_run.sample(12, calls=3)
    assert whole.calls == 3
    parts = list(agnostic_run.sample_batches(range(12), 1.0, SamplingOptions(batch_size=5, calls=3)))
    assert torch.equal(whole.codes, torch.cat([part.codes for part in parts]))
    assert not torch.equal(whole.codes, agnostic_run.sample(12, calls=1).codes)
    assert agnostic_run.sample(12).calls == 8


@pytest.mark.parametrize("plan", ["optimal", "linear", "certain"])
@pytest.mark.parametrize(("budget", "codes"), [(1.0, 8), (0.5, 4), ("1codes", 1)])
def test_budgets_of_codes_and_calls_go_together(agnostic_run, plan, budget, codes):
    calls = min(2, codes)
    samples = agnostic_run.sample(5, budget, calls=calls, plan=plan)
    assert samples.codes.shape == (5, codes)
    assert samples.calls == calls
    assert torch.equal(samples.x, agnostic_run.decode(samples.codes))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"calls": 0}, "calls 0 is not a whole number"),
        ({"calls": -2}, "calls -2 is not a whole number"),
        ({"calls": 9}, "9 calls cannot draw 8 codes: use 1 to 8 calls"),
        ({"calls": 5, "budget": 0.5}, "5 calls cannot draw 4 codes"),
        ({"plan": "optimum"}, "no plan 'optimum'.*did you mean 'optimal'"),
        ({"budget": "adaptive"}, "draws them in no order"),
        ({"engine": "numba"}, "no engine 'numba' for the ardm prior"),
        ({"engine": "graph"}, "needs a CUDA device"),
        ({"precision": "int8"}, "has no precision 'int8'"),
    ],
)
def test_wrong_calls_are_refused_in_one_line(agnostic_run, arguments, message):
    with pytest.raises(UsageError, match=message) as caught:
        agnostic_run.sample(2, **arguments)
    assert "\n" not in str(caught.value)


def test_a_prior_that_has_no_such_budget_says_so(tiny_run, anytime, tiny_folder):
    with pytest.raises(UsageError, match="draws one code a call"):
        tiny_run.sample(2, calls=3)
    result = anytime("sample", "--run", tiny_folder, "--calls", 3)
    assert result.status == 2
    assert result.err.count("\n") == 1
    assert "prior.kind=ardm" in result.err


def test_streams_grow_and_keep_what_they_have_given(agnostic_run):
    prefixes = list(agnostic_run.stream(3, [0.25, 0.5, 1.0], SamplingOptions(calls=4)))
    assert [prefix.codes.shape[1] for prefix in prefixes] == [2, 4, 8]
    for shorter, longer in itertools.pairwise(prefixes):
        assert torch.equal(longer.codes[:, : shorter.codes.shape[1]], shorter.codes)
    assert len(list(agnostic_run.stream(3))) == 8
    with pytest.raises(UsageError, match="2 calls cannot give samples after 3"):
        list(agnostic_run.stream(3, [0.25, 0.5, 1.0], SamplingOptions(calls=2)))


def test_a_deadline_buys_calls(agnostic_run, monkeypatch):
    agnostic_run.sampler().prepare(4)
    agnostic_run.costs.note("call", 4, 0.0)
    generous, hasty = agnostic_run.sample(4, "1000s"), agnostic_run.sample(4, "0.001ms")
    assert generous.calls == 8
    assert hasty.calls == 1
    assert hasty.codes.shape == (4, 8)


# Completion


@given(seed=st.integers(0, 1000), data=st.data())
@settings(max_examples=20, deadline=None)
def test_known_codes_stay_and_the_rest_is_drawn(agnostic_run, seed, data):
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 16, (6, 8), generator=generator)
    known = torch.rand(6, 8, generator=generator) < data.draw(st.sampled_from([0.0, 0.3, 0.9, 1.0]))
    options = SamplingOptions(seed=seed, calls=data.draw(st.sampled_from([None, 1, 3])), engine="eager")
    completed = agnostic_run.complete(codes, known, label=1, options=options)
    assert torch.equal(completed.codes[known], codes[known])
    assert completed.codes.shape == (6, 8)
    plain = SamplingOptions(seed=seed, calls=options.calls, engine="plain")
    assert torch.equal(completed.codes, agnostic_run.complete(codes, known, label=1, options=plain).codes)
    hidden = codes.masked_fill(~known, 0)
    assert torch.equal(completed.codes, agnostic_run.complete(hidden, known, label=1, options=options).codes)


def test_nothing_known_is_sampling(agnostic_run, tiny_run):
    for run in (agnostic_run, tiny_run):
        nothing = torch.zeros(4, 8, dtype=torch.int64)
        completed = run.complete(nothing, nothing.bool(), label=torch.arange(4))
        assert torch.equal(completed.codes, run.sample(4).codes)


def test_first_codes_can_be_given_to_a_prior_that_writes_code_after_code(tiny_run):
    whole = tiny_run.sample(4)
    known = torch.ones(4, 3, dtype=torch.bool)
    completed = tiny_run.complete(whole.codes[:, :3], known, label=whole.labels)
    assert torch.equal(completed.codes, whole.codes)
    known = torch.zeros(4, 8, dtype=torch.bool)
    known[:, 5] = True
    with pytest.raises(UsageError, match="from first to last"):
        tiny_run.complete(whole.codes, known, label=whole.labels)


def zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.int64)


@pytest.mark.parametrize(
    ("codes", "known", "label", "message"),
    [
        (zeros(2, 9), zeros(2, 9) > 0, 1, "9 codes are more than the 8"),
        (zeros(2, 8) + 16, zeros(2, 8) == 0, 1, r"code 16 is not in 0\.\.15"),
        (zeros(2, 8) - 1, zeros(2, 8) == 0, 1, r"code -1 is not in 0\.\.15"),
        (zeros(2, 8).float(), zeros(2, 8) > 0, 1, "codes are of type float32, not"),
        (zeros(2, 8), zeros(2, 7) > 0, 1, r"known of shape \[2, 7\] does not have the shape of the codes"),
        (zeros(2, 8), zeros(2, 8), 1, "known is of type int64, not .* booleans"),
        (zeros(2, 8), zeros(2, 8) > 0, None, "needs a label, such as label=0: the classes are 0, 1"),
        (zeros(2, 8), zeros(2, 8) > 0, torch.tensor([1]), "1 labels are not one for each of 2 samples"),
        (zeros(2, 8), zeros(2, 8) > 0, torch.tensor([1, 10]), "label 10 is not a whole number in 0..9"),
        (zeros(2, 8), zeros(2, 8) > 0, ["1", "cat"], "no class 'cat'"),
        (zeros(2, 8), zeros(2, 8) > 0, [None, 1], "label None is not"),
    ],
)
def test_codes_that_cannot_be_completed_are_refused(agnostic_run, codes, known, label, message):
    with pytest.raises(UsageError, match=message):
        agnostic_run.complete(codes, known, label=label)


# Configuration, and codes without an autoencoder


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"base": 1}, "a base is at least 2"),
        ({"base": "digits"}, "prior.base"),
        ({"heads": 3.5}, "prior.heads"),
        ({"prefix_share": 1.0}, "prior.prefix_share"),
    ],
)
def test_mistakes_in_its_config_are_named(change, message):
    with pytest.raises(ConfigError, match=message):
        parse_config({**TINY, "prior": {"kind": "ardm", **change}}, ImageConfig)


def test_levels_are_digits_of_fsq_codes_only(tmp_path):
    with pytest.raises(ConfigError, match=r"prior\.base=levels"):
        train_stages(tiny_config(*AGNOSTIC, "prior.base=levels"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "radices"),
    [
        (("prior.base=4",), (4, 4)),
        (("prior.base=3",), (3, 3, 3)),
        (
            ("autoencoder.quantizer.kind=fsq", "autoencoder.quantizer.levels=[4, 2, 3]", "prior.base=levels"),
            (3, 2, 4),
        ),
    ],
)
def test_runs_draw_codes_digit_by_digit(tmp_path, changes, radices):
    train_stages(tiny_config(*AGNOSTIC, *changes), tmp_path / "run")
    run = load(tmp_path / "run", device="cpu")
    assert isinstance(run.prior, ARDMPrior)
    assert run.prior.digits.radices == radices
    samples = run.sample(4, 0.5, calls=len(radices) + 1)
    assert samples.codes.shape == (4, 4)
    assert samples.calls == len(radices) + 1


def test_pixels_are_codes_of_the_identity(anytime, tmp_path):
    config = tmp_path / "pixels.yaml"
    config.write_text(json.dumps({**TINY, "autoencoder": {}}))
    settings = [argument for change in AGNOSTIC for argument in ("--set", change)]
    size = ("--set", "autoencoder.quantizer.size=17")
    result = anytime("train", "--config", config, "--baseline", "identity", *settings, *size, "--run", "run")
    assert result.status == 0, result.err
    run = load("run", device="cpu")
    assert run.code_length == 64
    x = next(iter([run.modality.datasets().validation.batch(range(5))["x"]]))
    assert torch.equal(run.encode(x), ((x + 1) * 8).round().long().flatten(1))
    torch.testing.assert_close(run.reconstruct(x), x, atol=0.004, rtol=0)  # the data is rounded to 8 bits
    assert run.sample(2, calls=4).x.shape == (2, 1, 8, 8)
    refused = anytime("train", "--config", config, "--set", "autoencoder.kind=identity", "--run", "other")
    assert refused.status == 2
    assert "--baseline identity" in refused.err


def test_sampling_by_calls_writes_how_many(anytime, agnostic_folder, tmp_path):
    result = anytime("sample", "--run", agnostic_folder, "--calls", 3, "--num", 4, "--out", tmp_path / "out")
    assert result.status == 0, result.err
    assert "4 samples of 8 of 8 codes by 3 calls" in result.err
    written = json.loads((tmp_path / "out" / "samples.json").read_text())
    assert (written["calls"], written["codes"]) == (3, 8)
    assert anytime("sample", "--run", agnostic_folder, "--calls", 0).status == 2
