"""Ctrl-C while modules are imported, and errors that libraries make of it."""

from __future__ import annotations

import importlib
import signal
import threading
import time

import pytest

from anytime_cli import main as command
from anytime_cli.interrupts import Interrupts, handled, leave_what_hangs
from anytime_core.jobs.writing import THREADS

INTERRUPTED = 130


def _import_and_wait(interrupts: Interrupts) -> None:
    assert importlib.import_module("interrupted_module").done
    assert interrupts.came
    time.sleep(30)  # which the interrupt ends


def test_an_interrupt_within_an_import_comes_once_the_import_is_done(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "interrupted_module.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\ndone = True\n")
    before = signal.getsignal(signal.SIGINT)
    with handled() as interrupts, pytest.raises(KeyboardInterrupt):
        _import_and_wait(interrupts)
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(("comes", "status"), [(True, INTERRUPTED), (False, 1)])
def test_what_a_library_makes_of_an_interrupt_is_one(anytime, monkeypatch, comes, status):
    def swallow(**options):
        try:
            if comes:
                signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            pass
        raise RecursionError("too deep")

    monkeypatch.setattr(command, "app", swallow)
    result = anytime("doctor")
    assert result.status == status
    assert ("interrupted" in result.err, "too deep" in result.err) == (comes, not comes)


@pytest.mark.parametrize("code", [0, 3, None])
def test_a_program_that_a_plugin_ends_has_not_done_its_work(anytime, monkeypatch, code):
    def leave(**options):
        raise SystemExit(code)

    monkeypatch.setattr(command, "app", leave)
    result = anytime("doctor")
    assert result.status == 1
    assert f"ended the program, with status {code}, before it was done" in result.err


@pytest.mark.parametrize("hangs", [True, False])
def test_an_interrupted_program_waits_for_no_thread_that_hangs_in_a_file(monkeypatch, hangs):
    ended, statuses = threading.Event(), []
    monkeypatch.setattr("os._exit", statuses.append)
    thread = threading.Thread(target=ended.wait, name=f"{THREADS}_0" if hangs else "another")
    thread.start()
    try:
        leave_what_hangs(INTERRUPTED)
    finally:
        ended.set()
        thread.join()
    assert statuses == [INTERRUPTED] * hangs
