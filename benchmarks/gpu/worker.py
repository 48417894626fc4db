"""A part in a process of its own, as one bad kernel spoils all later work of its process.

The process works through the items of the part. One that fails gets a row that says so. If the process cannot go on
after it, because the GPU's state is lost, the process died, or an item hangs, then another one goes on with the next.
"""

from __future__ import annotations

import dataclasses
import gc
import importlib
import math
import os
import signal
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.measures import Measure, Status
from benchmarks.gpu.setting import Item, Setting

_GRACE = 20.0
"""Seconds that an item may take longer than its part has, as the last one that begins may be slower than thought."""
_START = 120.0
"""Seconds after which a process should be at its first item."""
_PATIENCE = 90.0
"""Seconds that an item may take beyond several times what it should, as the first makes a run and compiles."""
_NAMED = 4
"""How many items that were left out are named."""
_SMALL = 0.15
"""How long tiny sizes take over full ones on a GPU."""


def work_through(part: str, setting: Setting, add: Callable[[Measure], None]) -> None:
    """Do all items of a part, whatever happens to some.

    Args:
        part: its module, whose `items` are what is to be done.
        setting: what the part is told.
        add: is given each row.
    """
    done: list[str] = []
    found = dict(setting.found)

    def note(measure: Measure) -> None:
        if measure.found is not None:
            found[measure.name] = measure.found
        add(measure)

    goes_on = True
    while goes_on:
        process = _Process(part, dataclasses.replace(setting, found=found), done)
        try:
            goes_on = process.follow(note, done)
        finally:
            process.kill()


class _Process:
    """One process at a part."""

    def __init__(self, part: str, setting: Setting, done: list[str]) -> None:
        self.part, self.setting = part, setting
        self.log = setting.folder / f"{_short(part)}.log"
        self.channel, theirs = get_context("spawn").Pipe(duplex=False)
        self.process = get_context("spawn").Process(target=_work, args=(part, setting, list(done), theirs, self.log))
        self.process.start()
        theirs.close()

    def follow(self, add: Callable[[Measure], None], done: list[str]) -> bool:
        """Hand on rows until the process ends. Returns whether another one is to go on with what is not `done`."""
        item, limit, began = "", _START, time.time()

        def give_up(why: str, status: Status = "failed") -> bool:
            add(Measure(item or f"part {_short(self.part)}", status=status, note=why, trace=self._tail()))
            done.append(item)
            return bool(item)

        while True:
            ends, over = began + limit, self.setting.ends + _GRACE
            if not self.channel.poll(max(0.0, (min(ends, over) if item else ends) - time.time())):
                if item and over < ends:
                    return give_up("its part had no more time", "skipped")
                return give_up(f"took longer than {time.time() - began:.0f} s and was stopped")
            try:
                kind, value = self.channel.recv()
            except EOFError:
                self.process.join(10)
                return give_up(f"its process ended with status {self.process.exitcode}: {self._last_words()}")
            if kind == "row":
                add(value)
            elif kind == "begin":
                (item, limit), began = value, time.time()
            elif kind == "done":
                done.append(value)
            else:
                return bool(kind == "broken")

    def kill(self) -> None:
        """End the process and those that it started; it is the first of a session of its own."""
        if self.process.pid is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                self.process.kill()
        self.process.join(10)
        self.channel.close()

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""

    def _last_words(self) -> str:
        lines = [line for line in self._tail().splitlines() if line.strip()]
        return lines[-1].strip() if lines else "it said nothing"


def _work(part: str, setting: Setting, done: list[str], channel: Connection, log: Path) -> None:
    """What the process does: rows and their surroundings go into the channel, all else that is said into the log."""
    os.setsid()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if setting.device == "cpu":
        os.environ |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        torch.set_num_threads(1)  # what is tiny gains nothing by threads

    def send(kind: str, value: Any = None) -> None:
        channel.send((kind, value))

    def add(measure: Measure) -> None:
        if measure.found is not None:
            setting.found[measure.name] = measure.found
        send("row", measure)

    items: list[Item] = importlib.import_module(part).items(setting)
    left_out: list[str] = []
    for item in items:
        if item.name in done:
            continue
        seconds = item.seconds * (_SMALL if setting.tiny else 1.0)
        if setting.left < seconds:
            left_out.append(item.name)
            continue
        send("begin", (item.name, math.inf if item.all_left else _PATIENCE + 4 * item.seconds))
        try:
            for measure in item.work():
                add(measure)
        except Exception as error:
            add(Measure.failed(item.name, error))
        send("done", item.name)
        gc.collect()
        if setting.device != "cpu" and _is_lost():
            send("broken")
            return
    if left_out:
        named = "; ".join(left_out[:_NAMED]) + (f" and {len(left_out) - _NAMED} more" if left_out[_NAMED:] else "")
        add(Measure.skipped(f"rest of part {_short(part)}", f"no time is left for {named}"))
    send("end")


def _short(part: str) -> str:
    return part.rpartition(".")[2]


def _is_lost() -> bool:
    """Whether the GPU refuses all further work of this process."""
    try:
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
    except RuntimeError:
        return True
    return False
