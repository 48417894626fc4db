"""Benchmarks lose nothing: rows are kept as they come, and what fails does not keep the rest from being measured."""

from __future__ import annotations

import json
import sys
import time

import pytest

from anytime_core.priors.grid.section import GridSection
from anytime_core.priors.registry import PRIORS
from anytime_core.results import PriorResult, PriorValidation
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.measures import GOALS, Goal, Journal, Measure
from benchmarks.gpu.schedule import Schedule
from benchmarks.gpu.setting import Setting
from benchmarks.gpu.worker import work_through
from benchmarks.priors import training
from benchmarks.priors.contenders import CONTENDERS, Way, ways
from benchmarks.priors.findings import Findings, Timing, read
from benchmarks.priors.results import Result
from benchmarks.priors.tables import tables
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


def test_all_kinds_of_priors_are_compared_once_and_those_of_any_order_by_several_numbers_of_calls():
    names = [way.name for way in ways(list(CONTENDERS), [None, 10])]
    on_grids = {kind for kind in PRIORS.built_in if issubclass(PRIORS.section_of(kind), GridSection)}
    assert set(PRIORS.built_in) - on_grids <= set(names)  # codes that any kind can model have no rows and columns
    assert [name for name in names if name.startswith("ardm")] == ["ardm", "ardm, 10 calls"]
    assert len(names) == len(set(names)) == len(CONTENDERS) + 1


def test_training_rates_are_measured_in_turns_and_only_those_that_are_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(training, "_rate", lambda run, overrides: float(len(overrides)))
    known = {"a": [5.0]}
    measured = list(training.measured_rates(tmp_path, {"a": ["x"], "b": ["x", "y"]}, known))
    assert measured == [("b", 2.0), ("a", 1.0), ("b", 2.0), ("a", 1.0), ("b", 2.0)]


def test_what_was_found_is_found_again_and_shown_by_the_fastest_engine(tmp_path):
    found = Findings(about={"device": "a processor"}, trainings={"made": 400.0})
    found.timings = [
        Timing(way="made", engine=engine, batch=64, codes=32, seconds=seconds)
        for engine, seconds in (("eager", 0.64), ("numba", 0.32), ("plain", 6.4))
    ]
    found.write(tmp_path)
    again = read(tmp_path, about={})
    assert again == found
    validation = PriorValidation(bits_per_code=4.2, standard_error=0.01)
    trained = PriorResult(steps=1000, seconds=500, validation=validation)
    result = Result(Way("made"), trained, 1_400_000, again.trainings["made"], None, again.timings)
    quality, times = tables([result], codes=[4, 32], batches=[64]).strip().split("\n\n")
    assert quality.splitlines()[-1].startswith("| made | 1.40 M | 1,000 | 400 s | 4.200 ± 0.010 |")
    assert times.splitlines()[-1] == "| made | 5.00 (numba) | 100 |"
