"""Packages that only an extra of this distribution installs."""

from __future__ import annotations

import importlib
from types import ModuleType

from anytime_core.errors import UsageError


def import_extra(module: str, extra: str, wanted_by: str) -> ModuleType:
    """A module that `pip install 'anytime-toolkit[extra]'` brings.

    Args:
        module: its full name.
        extra: the extra that installs it.
        wanted_by: what the user asked for.

    Raises:
        UsageError: the module, or something that it needs, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"{wanted_by} needs a package: {error}; pip install 'anytime-toolkit[{extra}]'") from error
