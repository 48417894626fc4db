"""Adaptive budgets: each sample ends by itself, by what validation says of each code and what the prior leaves open."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from anytime_core.curve import validated_lengths
from anytime_core.errors import RunError
from anytime_core.priors.heads import Categorical
from anytime_core.priors.shaping import Shaping
from anytime_core.priors.transformer.eager import EagerStepper
from anytime_core.record import RunRecord
from anytime_core.run import Run, load
from anytime_core.sampling.adaptive import AdaptiveDrawing, Gains, measured_gains
from anytime_core.sampling.noise import noise_of
from anytime_core.sampling.options import SamplingOptions
from anytime_core.sampling.samples import Samples
from anytime_core.sampling.steps import steps

NUM, CODES, SEED = 20, 8, 5
RUNNABLE = ("plain", "eager", "numba")
VARIED = 1.1
"""A threshold at which samples of `measured` end at different codes."""


def with_validation(record: RunRecord, **validation: dict[str, Any]) -> RunRecord:
    """A record whose stages of these names were validated otherwise."""
    changed = {
        name: type(result).model_validate({**result.model_dump(), "validation": validation[name]})
        for name, result in record.finished.items()
        if name in validation
    }
    return record.model_copy(update={"stages": {**record.stages, **changed}})


def with_losses(record: RunRecord, lengths: Sequence[int], losses: Sequence[float], **prior: Any) -> RunRecord:
    validation = {"codes": list(lengths), "reconstruction": {"loss": list(losses)}}
    return with_validation(record, autoencoder=validation, **({"prior": prior} if prior else {}))


def with_record(run: Run, record: RunRecord) -> Run:
    """The same run, opened anew, with another record."""
    run = load(run.folder, device="cpu")
    run.record = record
    return run


@pytest.fixture(autouse=True)
def _threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def measured(tiny_run: Run) -> Run:
    """The tiny run as if every code had brought the same, so that samples differ in their entropy alone."""
    return with_record(tiny_run, with_losses(tiny_run.record, [1, CODES], [1.0, 0.0]))


@pytest.fixture(scope="module")
def whole(tiny_run: Run) -> Samples:
    return tiny_run.sample(NUM, seed=SEED)


@pytest.fixture(scope="module")
def varied(measured: Run) -> Samples:
    return measured.sample(NUM, f"adaptive:{VARIED}", seed=SEED)


def together(run: Run, indices: Sequence[int], budget: str, **options: Any) -> tuple[Tensor, Tensor]:
    """Codes, padded to all of them, and lengths, over all batches."""
    parts = list(run.sample_batches(indices, budget, SamplingOptions(seed=SEED, **options)))
    padded = [torch.nn.functional.pad(part.codes, (0, CODES - part.codes.shape[1])) for part in parts]
    return torch.cat(padded), torch.cat([part.lengths for part in parts])


# Samples


@pytest.mark.parametrize("engine", RUNNABLE)
def test_each_sample_is_a_beginning_of_what_it_is_at_budget_one(measured, whole, varied, engine):
    samples = measured.sample(NUM, f"adaptive:{VARIED}", seed=SEED, engine=engine)
    assert len(samples.lengths.unique()) > 2
    assert samples.lengths.min() >= 1
    assert samples.codes.shape == (NUM, samples.lengths.max())
    for row, length in enumerate(samples.lengths.tolist()):
        assert torch.equal(samples.codes[row, :length], whole.codes[row, :length])
        assert not samples.codes[row, length:].any()
    torch.testing.assert_close(samples.x, measured.decode(whole.codes, samples.lengths))
    assert torch.equal(samples.labels, whole.labels)
    assert torch.equal(samples.lengths, varied.lengths)


@pytest.mark.parametrize("engine", RUNNABLE)
def test_a_tiny_threshold_draws_all_codes(measured, whole, engine):
    samples = measured.sample(NUM, "adaptive:1e-9", seed=SEED, engine=engine)
    assert torch.equal(samples.codes, whole.codes)
    assert samples.lengths.tolist() == [CODES] * NUM


@pytest.mark.parametrize("threshold", ["1e9", "1e39", "1e300"])
@pytest.mark.parametrize("first", [1, 3])
def test_a_huge_threshold_draws_the_codes_that_were_not_validated_apart(tiny_run, whole, first, threshold):
    run = with_record(tiny_run, with_losses(tiny_run.record, [first, CODES], [1.0, 0.0]))
    samples = run.sample(NUM, f"adaptive:{threshold}", seed=SEED)
    assert samples.lengths.tolist() == [first] * NUM
    assert torch.equal(samples.codes, whole.codes[:, :first])


@settings(max_examples=15, deadline=None)
@given(thresholds=st.tuples(st.floats(0.5, 2), st.floats(0.5, 2)))
def test_no_sample_is_longer_at_a_larger_threshold(measured, thresholds):
    smaller, larger = (measured.sample(NUM, f"adaptive:{value:.4f}", seed=SEED).lengths for value in sorted(thresholds))
    assert (larger <= smaller).all()


def test_thresholds_go_from_all_codes_to_one(measured):
    drawn = [int(measured.sample(NUM, f"adaptive:{value}", seed=SEED).lengths.sum()) for value in (0.01, VARIED, 99)]
    assert drawn[0] == NUM * CODES
    assert NUM < drawn[1] < NUM * CODES
    assert drawn[2] == NUM


@pytest.mark.parametrize("engine", RUNNABLE)
@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_a_sample_does_not_depend_on_its_batch_or_on_those_of_it_that_have_ended(measured, varied, engine, batch_size):
    codes, lengths = together(measured, range(NUM), f"adaptive:{VARIED}", engine=engine, batch_size=batch_size)
    assert torch.equal(lengths, varied.lengths)
    assert torch.equal(codes[:, : varied.codes.shape[1]], varied.codes)


def test_a_batch_goes_on_without_the_samples_that_have_ended(measured, monkeypatch):
    kept = []
    keep = EagerStepper.keep
    monkeypatch.setattr(EagerStepper, "keep", lambda self, rows: (kept.append(len(rows)), keep(self, rows)))
    measured.sample(NUM, f"adaptive:{VARIED}", seed=SEED, engine="eager")
    assert kept == sorted(set(kept), reverse=True)
    assert 0 < kept[-1] <= 0.75 * NUM


def test_a_large_batch_is_split_over_threads_of_which_one_may_run_out_of_samples(measured):
    num = 256
    reference, lengths = together(measured, range(num), f"adaptive:{VARIED}", engine="eager", batch_size=100)
    shortest_first = lengths.argsort(stable=True)
    torch.set_num_threads(2)
    codes, split = together(measured, shortest_first.tolist(), f"adaptive:{VARIED}", engine="eager", batch_size=num)
    assert torch.equal(split, lengths[shortest_first])
    assert torch.equal(codes, reference[shortest_first])


def test_a_call_can_be_stopped_after_any_code(measured, whole):
    seen = []

    def stops(drawn: int) -> bool:
        seen.append(drawn)
        return drawn == 3

    options = SamplingOptions(seed=SEED, batch_size=2)
    parts = list(measured.sample_batches(range(4), "adaptive:1e-9", options, on_code=stops))
    assert seen == [1, 2, 3, 1, 2, 3]
    assert [part.lengths.tolist() for part in parts] == [[3, 3], [3, 3]]
    assert torch.equal(torch.cat([part.codes for part in parts]), whole.codes[:4, :3])


# The rule


class Scripted:
    """Gives each sample the logits of its script, and remembers which ones it was asked to go on with."""

    def __init__(self, scripts: Tensor) -> None:
        self.scripts, self.kept, self.asked = scripts, [], []

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        self.asked.append(len(self.scripts))
        return self.scripts[:, position]

    def keep(self, rows: Tensor) -> None:
        self.kept.append(rows.tolist())
        self.scripts = self.scripts[rows]


SYMBOLS, LENGTH = 4, 6
OPEN, SURE = [0.0] * SYMBOLS, [1000.0, *[0.0] * (SYMBOLS - 1)]
EVEN = Gains(torch.ones(LENGTH), torch.full((LENGTH,), math.log(SYMBOLS)))


def draw(scripts: Sequence[Sequence[list[float]]], threshold: float, *, gains=EVEN, shaping=None):
    stepper, head = Scripted(torch.tensor([list(script) for script in scripts])), Categorical(SYMBOLS)
    noise = noise_of(0, range(len(scripts)), LENGTH, head.noise)
    choose = AdaptiveDrawing(stepper, head, noise, shaping or Shaping(), gains, threshold)
    for _ in steps(stepper, range(LENGTH), choose):
        if choose.ended:
            break
    return choose.codes[:, : int(choose.lengths.max())], choose.lengths.tolist(), stepper


@pytest.mark.parametrize(
    ("threshold", "length"), [(2.0, 1), (1.0001, 1), (0.6, 1), (0.4, 2), (0.2, 3), (0.12, 4), (0.01, 6)]
)
def test_a_predictable_sample_halves_what_its_next_code_is_worth_with_every_code(threshold, length):
    assert draw([[SURE] * LENGTH], threshold)[1] == [length]


def test_a_sample_that_stays_open_is_drawn_as_long_as_its_codes_bring_enough():
    falling = Gains(torch.tensor([math.inf, 2.0, 1.5, 1.0, 0.9, 0.5]), EVEN.entropy)
    lengths = [draw([[OPEN] * LENGTH], threshold, gains=falling)[1] for threshold in (3, 1.6, 0.95, 0.6, 0.4)]
    assert lengths == [[1], [2], [4], [5], [6]]


def test_twice_the_usual_entropy_makes_up_for_half_of_the_usual_gain():
    gains = Gains(torch.full((LENGTH,), 0.5), EVEN.entropy / 2)
    # The running mean of the entropy goes 1, 1.5, 1.75 ... 2.
    assert draw([[OPEN] * LENGTH], 0.74, gains=gains)[1] == [LENGTH]
    assert draw([[OPEN] * LENGTH], 0.76, gains=gains)[1] == [1]


def test_the_first_code_is_drawn_however_predictable_it_is_and_tells_nothing():
    lengths = [draw([[first, *[OPEN] * (LENGTH - 1)]], 0.9)[1] for first in (SURE, OPEN)]
    assert lengths == [[LENGTH], [LENGTH]]


def test_a_sample_that_has_ended_does_not_begin_again():
    assert draw([[OPEN, SURE, SURE, *[OPEN] * 3]], 0.4)[1] == [2]


def test_half_a_batch_of_ended_samples_is_put_aside_at_once():
    codes, lengths, stepper = draw([[SURE] * LENGTH, [OPEN] * LENGTH, [SURE] * LENGTH, [OPEN] * LENGTH], 0.2)
    assert lengths == [3, LENGTH, 3, LENGTH]
    assert stepper.kept == [[1, 3]]
    assert stepper.asked == [4, 4, 4, 4, 2, 2]
    assert codes[0, :3].tolist() == [0, 0, 0]
    assert not codes[0, 3:].any()
    alone = draw([[OPEN] * LENGTH] * 4, 0.2)[0]
    assert torch.equal(codes[[1, 3]], alone[[1, 3]])


def test_a_few_ended_samples_are_carried_along_and_stay_ended():
    codes, lengths, stepper = draw([[SURE] * LENGTH, *[[OPEN] * LENGTH] * 7], 0.2)
    assert lengths == [3, *[LENGTH] * 7]
    assert stepper.kept == []
    assert not codes[0, 3:].any()


def test_nothing_more_is_asked_for_once_all_samples_have_ended():
    codes, lengths, stepper = draw([[SURE] * LENGTH] * 3, 0.2)
    assert codes.shape == (3, 3)
    assert lengths == [3, 3, 3]
    assert stepper.asked == [3] * 4


def test_where_samples_end_follows_from_the_prior_and_not_from_how_it_is_shaped():
    script = [OPEN, OPEN, *[SURE] * 4]
    assert draw([script], 0.2, shaping=Shaping(temperature=0))[1] == draw([script], 0.2)[1] == [4]


# What validation says


def gains(record: RunRecord, code_length: int = 4) -> tuple[list[float], list[float]]:
    measured = measured_gains(record, code_length)
    return measured.gain.tolist(), measured.entropy.tolist()


BITS = [3.0, 2.0, 1.0, 0.5]


def test_gains_are_falls_of_the_loss_over_their_mean_and_entropies_are_nats(tiny_run):
    gain, entropy = gains(with_losses(tiny_run.record, [1, 2, 3, 4], [10.0, 6.0, 5.0, 4.0], bits_per_position=BITS))
    assert gain == pytest.approx([math.inf, 2.0, 0.5, 0.5])
    assert entropy == pytest.approx([bits * math.log(2) for bits in BITS])


def test_between_validated_lengths_the_loss_falls_evenly(tiny_run):
    gain, _ = gains(with_losses(tiny_run.record, [1, 2, 4], [10.0, 6.0, 2.0], bits_per_position=BITS))
    assert gain == pytest.approx([math.inf, 1.5, 0.75, 0.75])


def test_codes_before_the_first_validated_length_are_always_worth_drawing(tiny_run):
    gain, _ = gains(with_losses(tiny_run.record, [3, 4], [8.0, 5.0], bits_per_position=BITS))
    assert gain[:3] == [math.inf] * 3
    assert 0 < gain[3] < math.inf


def test_a_prior_of_the_first_codes_only_is_compared_with_their_mean(tiny_run):
    record = with_losses(tiny_run.record, [1, 2, 3, 4], [10.0, 6.0, 4.0, 0.0], bits_per_position=BITS[:3])
    gain, entropy = gains(record, 3)
    assert gain == pytest.approx([math.inf, 4 / 3, 2 / 3])
    assert len(entropy) == 3


def test_a_code_that_brings_little_opens_the_way_to_better_ones(tiny_run):
    gain, _ = gains(with_losses(tiny_run.record, [1, 2, 3, 4], [10.0, 9.5, 9.0, 4.0], bits_per_position=BITS))
    assert gain == pytest.approx([math.inf, 1.0, 2.75 / 2, 2.5])


def test_a_code_that_makes_it_worse_counts_what_makes_up_for_it(tiny_run):
    gain, _ = gains(with_losses(tiny_run.record, [1, 2, 3, 4], [10.0, 4.0, 5.0, 1.0], bits_per_position=BITS))
    assert gain == pytest.approx([math.inf, 2.0, 0.5, 4 / 3])


def test_codes_after_which_it_is_never_better_bring_nothing(tiny_run):
    gain, _ = gains(with_losses(tiny_run.record, [1, 2, 3, 4], [10.0, 4.0, 5.0, 4.0], bits_per_position=BITS))
    assert gain == pytest.approx([math.inf, 3.0, 0.0, 0.5])


@pytest.mark.parametrize("losses", [[5.0] * 4, [1.0, 2.0, 3.0, 4.0]], ids=["flat", "rising"])
def test_where_no_code_brings_anything_none_is_worth_drawing(tiny_run, losses):
    gain, _ = gains(with_losses(tiny_run.record, [1, 2, 3, 4], losses, bits_per_position=BITS))
    assert gain == [math.inf, 0, 0, 0]


def test_a_code_that_is_always_the_same_has_an_entropy_to_divide_by(tiny_run):
    _, entropy = gains(with_losses(tiny_run.record, [1, 4], [1.0, 0.0], bits_per_position=[0.0, 0.0, 1.0, 1.0]))
    assert min(entropy) > 0


def test_a_run_of_one_code_draws_it(tiny_run):
    gain, entropy = gains(with_losses(tiny_run.record, [1], [1.0], bits_per_position=[2.0]), 1)
    assert gain == [math.inf]
    assert entropy == pytest.approx([2 * math.log(2)])


def test_the_run_of_a_training_has_what_an_adaptive_budget_needs(tiny_run):
    gain, entropy = gains(tiny_run.record, CODES)
    assert len(gain) == len(entropy) == CODES
    assert gain[0] == math.inf
    assert math.fsum(gain[1:]) >= CODES - 1
    assert all(0 < value <= math.log(16) for value in entropy)


CURVE = {"codes": [1, 8], "reconstruction": {"loss": [1.0, 0.0]}}


@pytest.mark.parametrize(
    "validation",
    [
        {"autoencoder": {}},
        {"prior": {}},
        {"autoencoder": {"codes": [1, 8]}},
        {"autoencoder": {**CURVE, "reconstruction": {"mse": [1.0, 0.0]}}},
        {"prior": {"bits_per_code": 3.0}},
        {"prior": {"bits_per_position": []}},
        {"prior": {"bits_per_position": [3.0, 2.0, 1.0]}},
    ],
    ids=str,
)
def test_a_run_whose_stages_were_validated_less_is_told_to_be_trained_again(tiny_run, validation):
    run = with_record(tiny_run, with_validation(tiny_run.record, **validation))
    with pytest.raises(RunError, match=r"adaptive budget.*train it again"):
        run.sample(2, "adaptive")
    assert run.sample(2, 0.5).codes.shape == (2, 4)


@settings(deadline=None)
@given(code_length=st.integers(1, 3000))
def test_validated_are_one_code_all_codes_and_growing_numbers_between(code_length):
    lengths = validated_lengths(code_length)
    assert lengths[0] == 1
    assert lengths[-1] == code_length
    assert list(lengths) == sorted(set(lengths))
    assert len(lengths) <= 8 + code_length.bit_length()
    assert all(later <= 2 * earlier for earlier, later in itertools.pairwise(lengths))
