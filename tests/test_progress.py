"""Progress where there is no terminal."""

from __future__ import annotations

import pytest

from anytime_cli.progress import ProgressLines


@pytest.mark.parametrize(
    ("calls", "lines"),
    [
        ([(0.0, 1, 9, "drawing"), (4.9, 8, 9, "drawing")], []),
        (
            [(5.0, 1, 2000, "drawing"), (14.9, 2, 2000, "drawing"), (15.0, 1500, 2000, "judging")],
            ["drawing: 1 of 2,000", "judging: 1,500 of 2,000"],
        ),
        ([(60.0, 1, 2, ""), (61.0, 2, 2, "")], ["evaluating: 1 of 2"]),
        ([(60.0, 1, 2, "run\x1b[2J")], ["run\\x1b[2J: 1 of 2"]),
    ],
)
def test_work_of_more_than_a_few_seconds_tells_now_and_then_how_far_it_is(calls, lines):
    said: list[str] = []
    now = 100.0
    tell = ProgressLines("evaluating", said.append, lambda: now)
    for seconds, done, total, activity in calls:
        now = 100.0 + seconds
        tell(done, total, activity)
    assert said == lines
