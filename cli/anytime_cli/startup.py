"""What a command does before its work, so that people wait less for it."""

from __future__ import annotations

import gc
import importlib
import sys


def import_torch() -> None:
    """Import torch, which every command on models needs, without searching what it makes for garbage.

    Of its modules nothing is ever freed, and Python would look through all of them again and again, a tenth of the time
    that the import takes; nor are they looked through afterwards.
    """
    if "torch" in sys.modules:
        return
    gc.disable()
    try:
        importlib.import_module("torch")
    finally:
        gc.enable()
    gc.freeze()
