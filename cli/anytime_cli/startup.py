"""What a command does before its work, so that it starts sooner."""

from __future__ import annotations

import gc
import importlib
import sys


def import_torch() -> None:
    """Import torch, which every command on models needs, without garbage collection of its modules.

    Nothing in its modules is ever freed. Searching them for garbage again and again would take a tenth of the time of
    the import, so they are not searched later either.
    """
    if "torch" in sys.modules:
        return
    gc.disable()
    try:
        importlib.import_module("torch")
    finally:
        gc.enable()
    gc.freeze()
