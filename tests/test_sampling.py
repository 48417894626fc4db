"""Laws of the prior, the noise, the filters and the sizes of batches."""

from __future__ import annotations

import pytest
import torch
from drawing import codes_of, gumbel
from hypothesis import given, settings
from hypothesis import strategies as st

from anytime_core.errors import UsageError
from anytime_core.priors.heads import Categorical
from anytime_core.priors.shaping import Shaping
from anytime_core.priors.transformer.config import TransformerConfig
from anytime_core.priors.transformer.model import TransformerPrior
from anytime_core.sampling.batch_size import BatchSizes, largest_batch
from anytime_core.sampling.options import SamplingOptions

N, K, CLASSES = 12, 20, 3


def build(*, classes: int = CLASSES, vectors: str = "shared") -> TransformerPrior:
    torch.manual_seed(0)
    shape = {"none": None, "shared": (K, 5), "per position": (N, K, 5)}[vectors]
    table = None if shape is None else torch.randn(shape)
    prior = TransformerPrior(TransformerConfig(layers=2, width=32, heads=4), codes_of(N, K, classes=classes), table)
    with torch.no_grad():  # freshly initialised logits are nearly flat, which would hide differences
        for parameter in prior.parameters():
            parameter.mul_(8 if parameter.ndim > 1 else 1)
        if shape is not None:
            prior.to_vector.weight.normal_(std=0.2)
    return prior.eval()


# Drawing


def test_drawing_with_noise_follows_the_softmax():
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0])
    codes = Categorical(4).draw(
        logits.expand(40_000, 4), gumbel(0, range(40_000), 1, 4).whole()[:, 0], Shaping(temperature=0.5)
    )
    frequencies = codes.bincount(minlength=4) / len(codes)
    torch.testing.assert_close(frequencies, (logits / 0.5).softmax(0), rtol=0, atol=0.01)


@pytest.mark.parametrize(
    ("shaping", "allowed"),
    [
        (Shaping(top_k=2), {0, 1}),
        (Shaping(top_p=0.5), {0}),
        (Shaping(top_p=0.6), {0, 1}),
        (Shaping(top_p=1.0), {0, 1, 2, 3}),
        (Shaping(top_k=99), {0, 1, 2, 3}),
        (Shaping(temperature=0), {0}),
        (Shaping(top_k=2, top_p=0.6), {0}),  # the first of the two that are left has 0.625
        (Shaping(temperature=0.5, top_p=0.6), {0}),  # the first has 0.68 at this temperature
    ],
)
def test_shaping_keeps_the_most_likely_codes(shaping, allowed):
    order = torch.tensor([2, 0, 3, 1])  # the likeliest code is not the first one of the codebook
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log()[order]
    codes = Categorical(4).draw(logits.expand(2000, 4), gumbel(0, range(2000), 1, 4).whole()[:, 0], shaping)
    assert set(order[codes].tolist()) == allowed


@pytest.mark.parametrize("shaping", [Shaping(), Shaping(0.7, top_k=5), Shaping(top_p=0.8), Shaping(temperature=0)])
def test_drawing_leaves_the_logits_as_they_are_and_treats_each_row_by_itself(shaping):
    logits = torch.randn(50, K, generator=torch.Generator().manual_seed(0)) * 3
    before = logits.clone()
    noise = gumbel(0, range(50), 1, K).whole()[:, 0]
    codes = Categorical(K).draw(logits, noise, shaping)
    assert torch.equal(logits, before)
    assert codes.dtype == torch.int64
    assert len(codes.unique()) > 5
    alone = [Categorical(K).draw(logits[row : row + 1], noise[row : row + 1], shaping) for row in range(50)]
    assert torch.equal(torch.cat(alone), codes)


@pytest.mark.parametrize(
    "values", [{"temperature": -1}, {"temperature": float("nan")}, {"top_k": 0}, {"top_p": 0}, {"top_p": 1.5}]
)
def test_options_out_of_range_name_the_value(values):
    with pytest.raises(UsageError, match=str(next(iter(values.values())))):
        SamplingOptions(**values)


# The prior


@pytest.mark.parametrize("vectors", ["none", "shared", "per position"])
@pytest.mark.parametrize("classes", [0, CLASSES])
def test_log_prob_is_what_the_logits_say_of_each_code_given_those_before(classes, vectors):
    prior = build(classes=classes, vectors=vectors)
    codes = torch.randint(K, (5, N), generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 2, 0, 1]) if classes else None
    log_prob = prior.log_prob(codes, labels)
    for position in range(N):
        logits = prior.conditionals(codes[:, :position], labels)[:, -1]
        expected = logits.log_softmax(-1).gather(1, codes[:, position : position + 1])[:, 0]
        torch.testing.assert_close(log_prob[:, position], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(prior(codes, labels), -log_prob.mean(1))


def test_log_prob_of_all_sequences_sums_to_one():
    torch.manual_seed(0)
    prior = TransformerPrior(TransformerConfig(layers=1, width=8, heads=2), codes_of(3, 4)).eval()
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
        prior = TransformerPrior(TransformerConfig(layers=1, width=8, heads=2), codes_of(N, K), vectors).eval()
        torch.nn.init.normal_(prior.to_vector.weight)
        logits.append(prior.conditionals(codes[:, :-1], None))
    torch.testing.assert_close(*logits, atol=1e-3, rtol=1e-3)
    assert logits[0].std() > 0.1


def test_every_position_is_told_the_class():
    prior = build()
    codes = torch.zeros(1, N - 1, dtype=torch.int64)
    seen = []
    hook = prior.blocks[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for label in (0, 1):
        prior.conditionals(codes, torch.tensor([label]))
    hook.remove()
    assert ((seen[0] - seen[1]).abs().amax(-1) > 0).all()


# Sizes of batches

FIRST = BatchSizes(None, 10**6).next()


def sizes(batch_sizes: BatchSizes, seconds, batches: int = 10) -> list[int]:
    """The sizes of the first batches, where one of `size` samples takes `seconds(size)`."""
    seen = []
    for _ in range(batches):
        seen.append(batch_sizes.next())
        batch_sizes.note(seen[-1], seconds(seen[-1]))
    return seen


def test_batches_double_up_to_the_largest_while_that_draws_more_samples_a_second():
    largest = 3 * FIRST
    assert sizes(BatchSizes(None, largest), lambda size: 1.0, 5) == [FIRST, 2 * FIRST, largest, largest, largest]


@pytest.mark.parametrize("overhead", [1.0, 2.0], ids=["rate stays", "rate falls"])
def test_batches_go_back_to_the_best_size_where_a_larger_one_is_no_faster_and_stay_there(overhead):
    best = 4 * FIRST

    def seconds(size: int) -> float:
        return 1.0 if size <= best else overhead * size / best

    assert sizes(BatchSizes(None, 10**6), seconds, 6) == [FIRST, 2 * FIRST, best, 2 * best, best, best]


def test_the_last_and_largest_batch_is_left_again_where_it_is_slower():
    largest = 3 * FIRST
    seen = sizes(BatchSizes(None, largest), lambda size: 100.0 if size == largest else 1.0, 5)
    assert seen == [FIRST, 2 * FIRST, largest, 2 * FIRST, 2 * FIRST]


@settings(deadline=None)
@given(largest=st.integers(1, 10**4), seconds=st.lists(st.floats(0, 100), min_size=10, max_size=10))
def test_batches_are_never_larger_than_allowed_and_settle_on_the_fastest_seen(largest, seconds):
    batch_sizes = BatchSizes(None, largest)
    taken = iter(seconds)
    rates = {}
    for size in sizes(batch_sizes, lambda size: rates.setdefault(size, next(taken, 1.0))):
        assert 1 <= size <= min(largest, batch_sizes.largest)
    measured = {size: size / max(seconds, 1e-9) for size, seconds in rates.items()}
    assert measured[batch_sizes.next()] * 1.05 >= max(measured.values())


def test_batches_go_back_to_the_best_size_where_there_is_no_memory_for_more():
    batch_sizes = BatchSizes(None, 10**6)
    assert not batch_sizes.fall_back()
    assert sizes(batch_sizes, lambda size: 1.0, 2) == [FIRST, 2 * FIRST]
    assert batch_sizes.next() == 4 * FIRST
    assert batch_sizes.fall_back()
    assert sizes(batch_sizes, lambda size: 1.0, 2) == [2 * FIRST] * 2
    assert not batch_sizes.fall_back()


def test_what_a_sample_keeps_limits_batches_to_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (8 * 10**9, 80 * 10**9))
    assert largest_batch(10**6, torch.device("cuda", 0)) == 800
    assert largest_batch(10**6, torch.device("cpu")) == 1073
    assert largest_batch(10**12, torch.device("cpu")) == 1
    large = BatchSizes(None, 10**6, device=torch.device("cuda", 0))
    assert sizes(large, lambda size: 1.0, 5) == [512, 1024, 2048, 4096, 4096]


def test_a_last_batch_of_another_size_says_nothing():
    batch_sizes = BatchSizes(None, 10**6)
    batch_sizes.note(FIRST - 1, 1e-6)
    assert batch_sizes.next() == FIRST
    batch_sizes.note(FIRST, 1.0)
    batch_sizes.note(2 * FIRST - 1, 1e6)
    assert batch_sizes.next() == 2 * FIRST


@pytest.mark.parametrize(("given", "largest", "expected"), [(7, 100, 7), (7, 5, 5), (5000, 10**4, 5000)])
def test_a_given_size_is_kept_as_far_as_there_are_samples(given, largest, expected):
    assert sizes(BatchSizes(given, largest), lambda size: 1.0) == [expected] * 10


def test_sizes_do_not_change_within_a_job_that_must_not_measure():
    assert sizes(BatchSizes(None, 10**6, measures=False), lambda size: 1.0) == [FIRST] * 10
