"""How far a command is, as it is shown on a terminal and said elsewhere."""

from __future__ import annotations

import pytest

from anytime_cli import outlines
from anytime_cli.progress import Activity, Lines

_REMIND = Lines.remind


@pytest.fixture(autouse=True)
def _by_the_clock(monkeypatch):
    """As outside of tests, which are silent otherwise."""
    monkeypatch.setattr(Lines, "remind", _REMIND)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("calls", "lines"),
    [
        ([(0.0, 1, 9, "drawing"), (4.9, 8, 9, "drawing")], []),
        (
            [(5.0, 1, 2000, "drawing"), (34.9, 2, 2000, "drawing"), (35.0, 1500, 2000, "judging")],
            ["drawing      1/2,000", "judging      1,500/2,000"],
        ),
        ([(60.0, 1, 2, "evaluating"), (61.0, 2, 2, "evaluating")], ["evaluating   1/2"]),
        ([(60.0, 1, 2, "run\x1b[2J")], ["run\\x1b[2J   1/2"]),
    ],
)
def test_work_of_more_than_a_few_seconds_tells_now_and_then_how_far_it_is(calls, lines):
    said: list[str] = []
    clock = Clock()
    board = Lines(said.append, clock=clock)
    for seconds, done, total, name in calls:
        clock.now = 100.0 + seconds
        activity = Activity(name, clock)
        activity.reach(done, total)
        board.show(activity)
    assert said == lines


def test_a_training_is_never_quiet_for_long_and_a_short_one_says_little():
    said: list[str] = []
    clock = Clock()
    board = Lines(said.append, tenths=True, clock=clock)
    activity = Activity("prior", clock)
    for step in range(1, 1001):
        clock.now += 0.01
        activity.reach(step, 1000, {"loss": 2.0})
        board.show(activity)
    assert len(said) == 10
    activity.reach(1000, 1000, note="validating")
    board.show(activity)
    for _ in range(120):  # while nothing moves
        clock.now += 1.0
        board.remind()
    assert len(said) == 14
    assert said[-1] == "prior        1,000/1,000  loss 2  100/s  0:00:00 left  validating"


def slow_training(clock: Clock) -> Activity:
    activity = Activity("autoencoder", clock)
    values = {"loss": 0.123456, "reconstruction": 0.1, "quantizer": 0.02, "rate": 0.0019, "validation": 0.2}
    for step in range(1, 12):
        clock.now += 2.5
        activity.reach(step, 20_000, values)
    return activity


@pytest.mark.parametrize("width", range(20, 140, 7))
def test_step_loss_pace_and_time_left_come_first_and_other_numbers_are_cut_first(width):
    activity = slow_training(Clock())
    text = activity.fitting(width)
    assert activity.line().startswith(text.rstrip("…").rstrip())
    assert len(text) <= width
    essential = "autoencoder  11/20,000  loss 0.1235  0.4/s  13:52:52 left"
    assert essential.startswith(text) or text.startswith(essential)


def test_on_80_columns_a_long_name_gives_way_to_the_numbers():
    clock = Clock()
    activity = Activity("runs/a-run-with-a-long-name, 12 of 128 codes: reconstructions", clock)
    activity.reach(250, 2000)
    clock.now += 1
    activity.reach(500, 2000)
    text = activity.fitting(67)
    assert len(text) <= 67
    assert text.endswith("…  500/2,000  250/s  0:00:06 left")


def test_the_pace_is_that_of_the_last_minute():
    clock = Clock()
    activity = Activity("codes", clock)
    for step in range(1, 301):
        clock.now += 0.1 if step < 100 else 1.0
        activity.reach(step, 1000)
    assert activity.pace == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("seconds", "has_quick", "said"),
    [
        ({"prior": 0.2}, True, ["about 1 second, ", "prior 1 second"]),
        ({"autoencoder": 1300.0, "codes": 45.0, "prior": 900.0}, True, ["about 37 minutes", "codes 45 seconds"]),
        ({"autoencoder": 9000.0, "prior": 900.0}, True, ["about 2.8 hours", "--quick"]),
        ({"autoencoder": 9000.0, "prior": 900.0}, False, ["about 2.8 hours", "--set training.autoencoder.steps="]),
    ],
)
def test_a_forecast_names_the_stages_it_includes_and_over_an_hour_what_is_quicker(capsys, seconds, has_quick, said):
    outlines.forecast(seconds, has_quick=has_quick)
    told = capsys.readouterr().err
    assert all(part in told for part in said), told
    assert ("a first look" in told) == (sum(seconds.values()) > 3600)
