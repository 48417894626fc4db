"""Deadlines, by a clock that only tests move: when drawing stops, what is kept back, and what past calls teach."""

from __future__ import annotations

import errno
import functools
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from drawing import use_engine
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from anytime_core.budget import Budget
from anytime_core.priors.stepping import Stepper
from anytime_core.priors.transformer.eager import EagerEngine
from anytime_core.priors.transformer.model import TransformerPrior
from anytime_core.run import Run, load
from anytime_core.sampling import code_sampler
from anytime_core.sampling import deadline as deadline_module
from anytime_core.sampling import sampler as sampler_module
from anytime_core.sampling.deadline import Costs, Deadline, Pace
from anytime_core.sampling.noise import Noise
from anytime_core.sampling.options import SamplingOptions
from anytime_core.sampling.samples import Samples

CODES = 8
CPU, OTHER = torch.device("cpu"), torch.device("mps")
TOLERANCE = 1e-6

SECONDS = st.integers(1, 50)


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def count(self, pace: Pace, steps: list[float]) -> int:
        """Number of codes that are drawn at `pace` where they take `steps`."""
        for number, step in enumerate(steps, 1):
            self.now += step
            if pace.stops():
                return number
        return len(steps)


def costs_of(file: Path | None = None, *, batch: int = 1, **works: float) -> Costs:
    """Costs on the CPU of one earlier piece of each of `works`."""
    costs = Costs(file, CPU)
    for work, seconds in works.items():
        costs.note(work, batch, seconds)
    return costs


# The pace of a batch


@pytest.mark.parametrize(
    ("end", "steps", "drawn"),
    [
        (1.0, [0.25] * 9, 4),
        (0.99, [0.25] * 9, 3),
        (1.24, [0.25] * 9, 4),
        (9.0, [0.25] * 9, 9),
        (0.25, [0.25] * 9, 1),
        (0.1, [0.25] * 9, 1),
        (-5.0, [0.25] * 9, 1),
        (2.0, [0.25, 0.25, 1.0, 0.25], 3),
    ],
)
def test_drawing_stops_before_the_code_that_would_be_late(end, steps, drawn):
    clock = Clock()
    assert clock.count(Pace(end, clock), steps) == drawn


@pytest.mark.parametrize(("fast", "late"), [(3, True), (4, False)])
def test_the_next_code_is_taken_to_be_as_slow_as_the_slowest_of_the_last_four(fast, late):
    clock = Clock()
    pace = Pace(6.0, clock)
    for step in [4.0, *[0.25] * fast]:
        clock.now += step
        stops = pace.stops()
    assert stops == late


# What is kept back


def test_decoding_and_writing_the_batch_and_what_comes_last_are_kept_back():
    clock = Clock()
    costs = costs_of(decode=0.25, write=0.125, finish=0.5, preview=1.0, unrelated=64.0)
    deadline = Deadline(8.0, costs, ["decode", "write"], last={"finish": 1, "preview": 1}, clock=clock)
    assert deadline.pace(1, 1).end == 8.0 - 0.25 - 0.125 - 0.5 - 1.0


def test_what_has_never_been_measured_keeps_nothing_back():
    assert Deadline(8.0, Costs(None, CPU), ["decode"], last={"finish": 1}, clock=Clock()).pace(4, 1).end == 8.0


def test_larger_batches_keep_more_back_and_what_comes_last_comes_once():
    costs = costs_of(decode=0.25, finish=0.5)
    assert Deadline(8.0, costs, ["decode"], last={"finish": 1}, clock=Clock()).pace(4, 1).end == 8.0 - 4 * 0.25 - 0.5


def test_the_time_that_is_left_is_divided_over_the_batches_that_are_left():
    clock = Clock()
    deadline = Deadline(12.5, costs_of(decode=0.25, finish=0.5), ["decode"], last={"finish": 1}, clock=clock)
    assert deadline.pace(1, 3).end == 4.0 - 0.25
    clock.now = 2.0  # the first batch was quick
    assert deadline.pace(1, 2).end == 7.0 - 0.25
    clock.now = 9.0  # the second one was not
    assert deadline.pace(1, 1).end == 12.0 - 0.25


def test_what_a_call_took_counts_what_is_still_to_be_done():
    clock = Clock()
    deadline = Deadline(2.0, costs_of(finish=0.5), [], clock=clock)
    clock.now = 3.0
    assert deadline.took({"finish": 1, "close": 1}) == 3.5


def test_a_deadline_counts_from_when_it_is_made():
    clock = Clock()
    clock.now = 100.0
    deadline = Deadline(2.0, Costs(None, CPU), [], clock=clock)
    clock.now = 101.0
    assert deadline.pace(1, 1).end == 102.0


@settings(deadline=None)
@given(seconds=st.integers(1, 3000), step=SECONDS, decode=SECONDS, write=SECONDS, last=SECONDS)
def test_with_constant_costs_a_call_is_in_time_and_wastes_less_than_a_step(seconds, step, decode, write, last):
    clock = Clock()
    costs = costs_of(decode=decode, write=write, last=last)
    deadline = Deadline(seconds, costs, ["decode", "write"], last={"last": 1}, clock=clock)
    drawn = clock.count(deadline.pace(1, 1), [step] * 4000)
    ended = clock.now + decode + write + last
    assert drawn == 1 or ended <= seconds
    assert ended > seconds - step


@settings(deadline=None)
@given(
    batches=st.integers(1, 6), length=st.integers(1, 40), step=SECONDS, reserve=SECONDS, spare=st.floats(0, 2, width=16)
)
def test_several_batches_are_in_time_together_and_leave_less_than_a_step_unless_all_is_drawn(
    batches, length, step, reserve, spare
):
    clock = Clock()
    least, most = batches * (step + reserve), batches * (length * step + reserve)
    seconds = least + spare * (most - least)
    deadline = Deadline(seconds, costs_of(decode=reserve), ["decode"], clock=clock)
    drawn = []
    for left in range(batches, 0, -1):
        drawn.append(clock.count(deadline.pace(1, left), [step] * length))
        clock.now += reserve
    assert clock.now <= seconds + TOLERANCE
    assert drawn[-1] == length or clock.now > seconds - step - TOLERANCE


# What past calls teach


def test_a_cost_is_the_second_largest_of_those_that_are_remembered():
    costs = Costs(None, CPU)
    assert costs.expected("decode", 4) is None
    for seconds, expected in ((3.0, 3.0), (1.0, 1.0), (2.0, 2.0), (9.0, 3.0), (9.0, 9.0)):
        costs.note("decode", 4, seconds)
        assert costs.expected("decode", 4) == expected


def test_one_outlier_among_the_latest_does_not_count_and_neither_does_what_is_long_ago():
    costs = Costs(None, CPU)
    for seconds in [50.0, 50.0, *[1.0] * 14]:
        costs.note("decode", 4, seconds)
    assert costs.expected("decode", 4) == 50.0
    costs.note("decode", 4, 1.0)
    assert costs.expected("decode", 4) == 1.0
    for _ in range(16):
        costs.note("decode", 4, 0.5)
    assert costs.expected("decode", 4) == 0.5


@pytest.mark.parametrize(
    ("batch", "expected"),
    [(4, 1.0), (16, 8.0), (5, 8.0), (15, 8.0), (3, 1.0), (1, 1.0), (32, 16.0), (24, 12.0)],
)
def test_a_new_batch_size_costs_what_the_next_larger_one_does_or_more_than_the_largest(batch, expected):
    costs = Costs(None, CPU)
    costs.note("decode", 4, 1.0)
    costs.note("decode", 16, 8.0)
    assert costs.expected("decode", batch) == expected


def test_kinds_of_work_are_apart():
    costs = costs_of(decode=1.0, write=2.0)
    assert [costs.expected(work, 1) for work in ("decode", "write", "preview")] == [1.0, 2.0, None]


@given(measured=st.lists(st.tuples(st.sampled_from(["decode", "write"]), st.integers(1, 99), st.floats(0, 1e6))))
@settings(deadline=None)
def test_costs_are_the_same_when_they_are_read_again(tmp_path_factory, measured):
    file = tmp_path_factory.mktemp("costs") / "costs.json"
    costs = Costs(file, CPU)
    for work, batch, seconds in measured:
        costs.note(work, batch, seconds)
    costs.save()
    again = Costs(file, CPU)
    for work in ("decode", "write"):
        assert [again.expected(work, batch) for batch in (1, 7, 64)] == [
            costs.expected(work, batch) for batch in (1, 7, 64)
        ]


def test_devices_and_numbers_of_threads_are_apart_in_one_file(tmp_path, monkeypatch):
    file = tmp_path / "costs.json"
    places = {}
    for place, (device, threads) in enumerate([(CPU, 1), (OTHER, 1), (CPU, 7)]):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        costs = Costs(file, device)
        assert costs.expected("decode", 1) is None
        costs.note("decode", 1, float(place))
        costs.save()
        places[device, threads] = float(place)
    for (device, threads), seconds in places.items():
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert Costs(file, device).expected("decode", 1) == seconds


def measured(text: str, *, batch: str = "4") -> bytes:
    """A file of costs that says `text` of decoding on this device."""
    return f'{{{json.dumps(Costs(None, CPU).place)}: {{"decode": {{"{batch}": {text}}}}}}}'.encode()


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"\xff\xfe\x00", b"[1]", b"3", b"null", b'"text"', b"[" * 100_000),
        b'{"format_version": 1, "stages": {"prior": {"steps": 3}}}',
        b'{"cpu": {"decode": [1.0]}}',
        *map(measured, ("3", "null", '"ab"', '{"a": 1}', "[[1]]", '["fast"]', "[null]", "[]")),
        *map(measured, ("[NaN]", "[Infinity]", "[-Infinity]", "[1e999]", '["nan"]', "[-5.0]", f"[{'9' * 400}]")),
        measured("[1.0]", batch="four"),
        measured("[1.0]", batch="0"),
    ],
    ids=lambda content: repr(content[-30:].decode(errors="replace")),
)
def test_a_damaged_or_foreign_file_of_costs_says_nothing_and_is_written_anew(tmp_path, content):
    file = tmp_path / "costs.json"
    file.write_bytes(content)
    costs = Costs(file, CPU)
    assert costs.expected("decode", 4) is None
    costs.note("decode", 4, 0.5)
    costs.save()
    assert Costs(file, CPU).expected("decode", 4) == 0.5


def test_costs_without_a_file_are_remembered_nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    costs_of(None, decode=1.0).save()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_left_as_it_is(tmp_path, monkeypatch):
    costs_of(tmp_path / "missing" / "costs.json", decode=1.0).save()
    (tmp_path / "file").write_bytes(b"")
    costs_of(tmp_path / "file" / "costs.json", decode=1.0).save()

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(deadline_module, "write_json", refuse)
    costs_of(tmp_path / "costs.json", decode=1.0).save()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# Samples


class Workshop:
    """A run whose engine and decoder take time on a clock that nothing else moves.

    Attributes:
        step: seconds a code.
        slow_steps: seconds a code in batches of other sizes.
        decode: seconds that decoding a batch takes.
        decoded: batch sizes that were decoded.
    """

    def __init__(self, run: Run) -> None:
        self.clock, self.run = Clock(), run
        self.step, self.decode = 0.25, 0.25
        self.slow_steps: dict[int, float] = {}
        self.decoded: list[int] = []
        self._plain_decode = run.decode
        run.costs = Costs(None, run.device)
        run.decode = self._decode
        use_engine(run, "eager", SlowEngine(run.require_prior(), self))

    def _decode(self, codes: Tensor, length: int | Tensor | None = None) -> Tensor:
        self.clock.now += self.decode
        self.decoded.append(len(codes))
        return self._plain_decode(codes, length)

    def prepare(self, *batches: int) -> float:
        """Prepare batches before the clock starts; returns what each of them took."""
        for batch in batches:
            self.clock.now = 0.0
            self.run.sampler(options()).prepare(batch)
            seconds = self.clock.now
        self.clock.now = 0.0
        self.decoded.clear()
        return seconds

    def sample(self, num: int, budget: float | str) -> Samples:
        return self.run.sample(num, budget, seed=5, engine="eager")

    def batches(self, num: int, budget: str, **arguments: Any) -> Iterator[Samples]:
        return self.run.sample_batches(range(num), budget, options(batch_size=2), **arguments)


class SlowEngine(EagerEngine):
    def __init__(self, prior: TransformerPrior, workshop: Workshop) -> None:
        super().__init__(prior, "float32")
        self.workshop = workshop

    def open(self, labels: Tensor | None, batch: int, length: int) -> Stepper:
        return SlowStepper(super().open(labels, batch, length), self.workshop, batch)


class SlowStepper:
    def __init__(self, stepper: Stepper, workshop: Workshop, batch: int) -> None:
        self.stepper, self.workshop, self.batch = stepper, workshop, batch

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        self.workshop.clock.now += self.workshop.slow_steps.get(self.batch, self.workshop.step)
        return self.stepper.step(position, previous)


def options(**changes: Any) -> SamplingOptions:
    return SamplingOptions(seed=5, engine="eager", **changes)


@pytest.fixture
def workshop(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    workshop = Workshop(load(tiny_folder, device="cpu"))
    monkeypatch.setattr(sampler_module, "time", SimpleNamespace(perf_counter=workshop.clock))
    monkeypatch.setattr(sampler_module, "Deadline", functools.partial(Deadline, clock=workshop.clock))
    return workshop


@pytest.fixture(scope="module")
def whole(tiny_run: Run) -> Samples:
    """Samples at budget 1.0, of which those of a deadline are the beginning."""
    return tiny_run.sample(66, seed=5)


def assert_beginnings(samples: Samples, whole: Samples, run: Run) -> None:
    """`samples` are the first codes of `whole`, as many as their lengths say, and decoded from those."""
    full = whole.codes[list(samples.indices)]
    for row, length in enumerate(samples.lengths.tolist()):
        assert torch.equal(samples.codes[row, :length], full[row, :length])
        assert not samples.codes[row, length:].any()
    torch.testing.assert_close(samples.x, run.decode(full, samples.lengths))


def test_a_deadline_draws_as_many_codes_as_fit_before_it_and_decodes_in_time(workshop, whole, tiny_run):
    workshop.prepare(3)
    samples = workshop.sample(3, "1.25s")
    assert samples.lengths.tolist() == [4, 4, 4]
    assert samples.codes.shape == (3, 4)
    assert samples.indices == (0, 1, 2)
    assert samples.labels.tolist() == [0, 1, 2]
    assert samples.seconds == {"codes": 1.0, "decode": 0.25}
    assert workshop.clock.now == 1.25
    assert_beginnings(samples, whole, tiny_run)


@pytest.mark.parametrize("time_for_codes", [0.25, 1.0, 1.125, 2.0])
def test_the_first_call_prepares_within_its_deadline(workshop, whole, tiny_run, time_for_codes):
    preparing = workshop.prepare(4)
    seconds = preparing + time_for_codes + 0.25
    samples = workshop.sample(3, f"{seconds}s")
    drawn = int(time_for_codes / 0.25)
    assert samples.lengths.tolist() == [drawn] * 3
    assert workshop.clock.now == preparing + drawn * 0.25 + 0.25
    assert_beginnings(samples, whole, tiny_run)


@pytest.mark.parametrize("budget", ["1ms", "200ms", "0.7s"])
@pytest.mark.parametrize("prepared", [False, True])
def test_a_deadline_that_leaves_no_time_draws_one_code(workshop, whole, tiny_run, budget, prepared):
    if prepared:
        workshop.prepare(3)
        workshop.step = 0.5
    samples = workshop.sample(3, budget)
    assert samples.lengths.tolist() == [1, 1, 1]
    assert_beginnings(samples, whole, tiny_run)


def test_a_deadline_that_leaves_time_for_all_codes_is_budget_one(workshop, whole):
    workshop.prepare(20)
    samples = workshop.sample(20, "60s")
    assert torch.equal(samples.codes, whole.codes[:20])
    assert samples.lengths.tolist() == [CODES] * 20
    assert workshop.clock.now == CODES * 0.25 + 0.25


def test_a_decoder_that_was_slow_twice_gets_more_time(workshop):
    workshop.prepare(3)
    before = workshop.sample(3, "2s").codes.shape[1]
    workshop.decode = 1.0
    for _ in range(2):
        workshop.sample(3, "60s")
    workshop.clock.now = 0.0
    after = workshop.sample(3, "2s").codes.shape[1]
    assert (before, after) == (7, 4)
    assert workshop.clock.now == 2.0


def test_batches_share_one_deadline_and_later_ones_get_what_is_left(workshop, whole, tiny_run):
    workshop.prepare(2)
    parts = []
    for part in workshop.batches(6, "6s"):
        parts.append(part)
        workshop.step = (0.5, 0.25, 0.25)[len(parts) - 1]
    # 7 codes in 2 s; then 3 slow ones in 1.75 s; 2.25 s are left for the last batch, which ends.
    assert [part.lengths.tolist() for part in parts] == [[7, 7], [3, 3], [8, 8]]
    assert [part.indices for part in parts] == [(0, 1), (2, 3), (4, 5)]
    assert workshop.clock.now == 6.0
    for part in parts:
        assert_beginnings(part, whole, tiny_run)


def test_batches_of_different_lengths_are_padded_with_zeros_and_say_their_lengths(workshop, whole, tiny_run):
    workshop.prepare(64, 2)
    workshop.slow_steps[64] = 0.5
    samples = workshop.sample(66, "7s")
    assert samples.lengths.tolist() == [6] * 64 + [8] * 2
    assert samples.codes.shape == (66, 8)
    assert samples.indices == tuple(range(66))
    assert samples.labels.tolist() == [index % 10 for index in range(66)]
    assert samples.seconds == {"codes": 6 * 0.5 + 8 * 0.25, "decode": 0.5}
    assert_beginnings(samples, whole, tiny_run)


def test_a_call_with_a_deadline_can_be_stopped_before_it(workshop):
    seen = []

    def stops(drawn: int) -> bool:
        seen.append(drawn)
        return drawn == 3

    assert [part.lengths.tolist() for part in workshop.batches(4, "60s", on_code=stops)] == [[3, 3], [3, 3]]
    assert seen == [1, 2, 3, 1, 2, 3]


def test_the_caller_may_have_a_deadline_of_its_own_that_began_earlier(workshop):
    workshop.prepare(2)
    costs = costs_of(decode=0.25, batch=2)
    costs.note("finish", 1, 0.5)
    deadline = Deadline(4.0, costs, ["decode"], last={"finish": 1}, clock=workshop.clock)
    workshop.clock.now = 1.75
    parts = workshop.run.sampler(options()).batches(range(2), Budget.parse("4s"), deadline=deadline)
    assert [part.lengths.tolist() for part in parts] == [[6, 6]]
    assert workshop.clock.now == 3.5


@pytest.mark.parametrize("budget", ["8codes", 1.0, "60s"])
def test_only_calls_with_a_deadline_take_time_to_measure(workshop, budget):
    workshop.sample(2, budget)
    timed = budget == "60s"
    assert (len(workshop.decoded) > 1) == timed
    assert workshop.run.costs.expected("decode", 2) == (0.25 if timed else None)


def test_what_the_last_smaller_batch_needs_is_prepared_with_the_others(workshop):
    workshop.run.sampler(options(batch_size=3)).prepare(7)
    workshop.decoded.clear()
    parts = workshop.run.sample_batches(range(7), "60s", options(batch_size=3))
    assert [len(part.indices) for part in parts] == [3, 3, 1]
    assert workshop.decoded == [3, 3, 1]


def test_each_batch_size_is_prepared_once_and_its_first_decoding_does_not_count(workshop, monkeypatch):
    decoded = []

    def decode(codes: Tensor, length: Tensor | None = None) -> None:
        workshop.clock.now += len(codes) if len(codes) in decoded else 100.0
        decoded.append(len(codes))

    monkeypatch.setattr(workshop.run, "decode", decode)
    for batch in (2, 3):
        workshop.run.sampler(options()).prepare(batch)
    seen = len(decoded)
    for batch in (2, 3, 2):
        workshop.run.sampler(options()).prepare(batch)
    assert len(decoded) == seen
    assert [workshop.run.costs.expected("decode", batch) for batch in (2, 3)] == [2.0, 3.0]


def test_what_a_batch_needs_before_its_first_code_is_not_taken_for_a_slow_code(workshop, monkeypatch):
    workshop.prepare(3)
    noise = code_sampler.noise_of

    def slow_noise(*arguments: Any) -> Noise:
        workshop.clock.now += 1.0
        return noise(*arguments)

    monkeypatch.setattr(code_sampler, "noise_of", slow_noise)
    assert workshop.sample(3, "2.5s").lengths.tolist() == [5] * 3
    assert workshop.clock.now == 2.5


def test_an_engine_that_has_not_drawn_yet_is_prepared_too(workshop):
    class OpeningEngine(SlowEngine):
        """Takes long to draw for the first time."""

        opening = 5.0

        def open(self, labels: Tensor | None, batch: int, length: int) -> Stepper:
            self.workshop.clock.now += self.opening
            self.opening = 0.0
            return super().open(labels, batch, length)

    preparing = workshop.prepare(3)
    use_engine(workshop.run, "numba", OpeningEngine(workshop.run.require_prior(), workshop))
    samples = workshop.run.sample(3, f"{5.0 + preparing + 1.25}s", engine="numba")
    assert samples.lengths.tolist() == [4] * 3
    assert workshop.clock.now == 5.0 + preparing + 1.25


def test_the_decoding_of_every_batch_is_remembered(workshop):
    for _ in workshop.batches(4, "60s"):
        workshop.decode = 3.0
    assert workshop.run.costs.expected("decode", 2) == 0.25
    list(workshop.batches(2, "60s"))
    assert workshop.run.costs.expected("decode", 2) == 3.0


@pytest.mark.parametrize(("together", "threads"), [(0.5, 2), (0.9, 1), (4.0, 1)])
def test_decoding_before_a_deadline_uses_threads_only_where_they_are_clearly_faster(workshop, together, threads):
    seen = []
    plain = workshop.run.decode

    def decode(codes: Tensor, length: Tensor | None = None) -> Tensor:
        seen.append(torch.get_num_threads())
        workshop.decode = 1.0 if seen[-1] == 1 else together
        return plain(codes, length)

    workshop.run.decode = decode
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        workshop.prepare(3)
        measured = workshop.run.costs.expected("decode", 3)
        workshop.sample(3, "60s")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen[-1] == threads
    assert measured == workshop.decode
