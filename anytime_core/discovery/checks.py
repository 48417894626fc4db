"""Whether a plugin can be imported, found out in a process of its own, which may hang, exit or crash."""

from __future__ import annotations

import contextlib
import faulthandler
import importlib.abc
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NoReturn

from anytime_core.entry_points import Group, Plugin, debugging, failure, import_declared
from anytime_core.errors import PluginError

CHECK_LIMIT = 20.0
"""Seconds without progress after which `check_plugin` takes an import to hang."""

_POLL = 0.05


def check_plugin(plugin: Plugin, limit: float = CHECK_LIMIT) -> Plugin:
    """The plugin with the state that importing it gives.

    It is imported in a process of its own, which may hang, exit or crash.

    Args:
        plugin: as `list_declared` gives it; only one whose state is `ok` is imported.
        limit: seconds after which an import hangs that has not looked for another module meanwhile.
    """
    if plugin.state != "ok":
        return plugin
    with tempfile.TemporaryDirectory(prefix="anytime-plugin-") as folder:
        report = Path(folder) / "report"
        report.touch()
        status = _import_in_process(plugin, report, limit)
        outcome = report.read_text(encoding="utf-8").strip()
    if outcome:
        return replace(plugin, **json.loads(outcome))
    if status is None:
        cause = f"it did not finish, with no progress within {limit:g} s"
    elif status < 0:
        cause = f"the process importing it was ended by signal {-status}"
    else:
        cause = f"the process importing it ended with status {status}"
    return replace(plugin, state="broken", problem=failure(plugin, f"cannot be imported: {cause}"))


_PROGRAM = """
import json, sys
sys.path[:], plugin, report = map(json.loads, sys.argv[1:])
from anytime_core.discovery.checks import report_import
report_import(plugin, report)
"""


def _import_in_process(plugin: Plugin, report: Path, limit: float) -> int | None:
    """Let a new process import a plugin and write to `report`. Returns its exit status, None where it hangs."""
    arguments = map(json.dumps, (sys.path, asdict(plugin), str(report)))
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as process:
        try:
            status = _wait(process, report, limit)
            if status is None and debugging():
                process.send_signal(signal.SIGABRT)  # at which faulthandler shows where it hangs
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(1)
            return status
        finally:
            process.kill()


def _wait(process: subprocess.Popen[bytes], report: Path, limit: float) -> int | None:
    """Exit status of a process, None once its `report` has not grown for `limit` seconds."""
    # How long an import takes says more of the machine than of the plugin: on a busy one torch takes half a minute.
    size, since = 0, time.monotonic()
    while time.monotonic() - since < limit:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(_POLL)
        if report.stat().st_size > size:
            size, since = report.stat().st_size, time.monotonic()
    return None


def report_import(fields: Mapping[str, Any], report: str) -> NoReturn:
    """What the process does: a newline in `report` for each module that is looked for, then the state that it finds."""
    if debugging():
        faulthandler.enable()
    descriptor = os.open(report, os.O_WRONLY | os.O_APPEND)
    sys.meta_path.insert(0, _Progress(descriptor))
    plugin = Plugin(**{**fields, "group": Group(**fields["group"])})
    try:
        import_declared(plugin)
    except PluginError as error:
        plugin = replace(plugin, state="broken" if error.__cause__ else "incompatible", problem=str(error))
    os.write(descriptor, json.dumps({"state": plugin.state, "problem": plugin.problem}).encode())
    sys.stderr.flush()
    os._exit(0)  # threads that the plugin has started must not keep the process


class _Progress(importlib.abc.MetaPathFinder):
    """Finds no module, but tells that one is looked for."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        os.write(self.descriptor, b"\n")
