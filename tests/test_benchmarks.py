"""Benchmarks lose nothing: rows are kept as they come, and what fails does not keep the rest from being measured."""

from __future__ import annotations

import json
import sys
import time

import pytest

from benchmarks.gpu.__main__ import main
from benchmarks.gpu.measures import GOALS, Goal, Journal, Measure
from benchmarks.gpu.schedule import Schedule
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.worker import work_through
from benchmarks.report import Row, median_seconds, show

ROWS = [Row("a", 1.0, 2.0, "peer", 2.0, "s"), Row("b", 1.0, 2.0, "peer", 2.0, "s")]


def test_rows_are_printed_and_kept_as_they_come(tmp_path, capsys):
    def measured():
        yield ROWS[0]
        assert "a: 1 s, 2 by peer: 2.00x" in capsys.readouterr().out
        yield ROWS[1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        show("Rows", measured(), tmp_path / "rows.json")
    assert [row["name"] for row in json.loads((tmp_path / "rows.json").read_text())["rows"]] == ["a", "b"]


@pytest.mark.parametrize(("limit", "turns"), [(1e9, 4), (0.0, 1)])
def test_turns_end_at_the_limit_but_one_always_counts(limit, turns):
    taken: list[int] = []
    (seconds,) = median_seconds([lambda: taken.append(0)], repeats=3, warmup=1, limit=limit)
    assert len(taken) == turns
    assert seconds >= 0


def test_parts_share_the_time_that_is_left_by_their_weights(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(time, "time", lambda: now)
    schedule = Schedule(110, {"a": 1, "b": 1, "c": 2})
    assert schedule.end_of("a") == 1025
    now = 1005.0  # what the first one left goes to those after it
    assert schedule.end_of("b") == pytest.approx(1005 + 95 / 3)
    now = 2000.0
    assert schedule.end_of("c") == 2000


def test_an_item_that_fails_or_kills_its_process_becomes_a_row_and_the_next_ones_go_on(tmp_path):
    rows: list[Measure] = []
    work_through("failing_part", Setting("cpu", tmp_path, ends=time.time() + 1000), rows.append)
    assert [(row.name, row.found, row.status) for row in rows] == [
        ("found 1", 1, "measured"),
        ("half", 0.5, "measured"),
        ("fails", None, "failed"),
        ("dies", None, "failed"),
        ("found 2", 2, "measured"),
        ("rest of part failing_part", None, "skipped"),
    ]
    failed, died, *_, left_out = (row for row in rows if row.status != "measured")
    assert failed.note == "ValueError: for this card"
    assert "in fail\n" in failed.trace
    assert died.note == "its process ended with status 7: illegal memory access"
    assert left_out.note == "no time is left for too long"


def test_the_file_has_every_row_at_any_moment_and_the_summary_says_what_falls_short(tmp_path, capsys):
    file = tmp_path / "gpu.json"
    journal = Journal(file, {"device": "a card"})
    for measure in (
        Measure("codes, batch 1", 120.0, "samples/s"),
        Measure("codes, batch 64", 20.0, "samples/s"),
        Measure("seconds", 3.0, "s", Goal(2, less=True)),
    ):
        journal.add(measure)
        assert json.loads(file.read_text())["rows"][-1]["name"] == measure.name
    journal.finish()
    written = json.loads(file.read_text())
    assert written["finished"]
    assert [row["reached"] for row in written["rows"]][:3] == [True, False, False]
    assert {row["name"] for row in written["rows"]} >= set(GOALS)
    short, _, rest = capsys.readouterr().out.partition("Falls short of its goal:")[2].partition("Failed:")
    assert [line.partition(":")[0].strip() for line in short.strip().splitlines()] == ["codes, batch 64", "seconds"]
    assert "against the best peer, batch 1: skipped - not measured" in rest


def test_without_a_gpu_the_command_says_so_and_ends_with_2(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks.gpu"])
    assert main() == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("no GPU here")
