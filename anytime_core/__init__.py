"""Anytime sampling: autoregressive generation that can stop at any moment.

`load(folder)` opens a trained run; `Run.sample`, `Run.encode` and `Run.decode` use it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anytime_core.errors import AnytimeError
    from anytime_core.run import Run, load
    from anytime_core.sampling.budget import Budget
    from anytime_core.sampling.samples import Samples

__version__ = "0.1.0"
__all__ = ["AnytimeError", "Budget", "Run", "Samples", "__version__", "load"]

_HOMES = {
    "AnytimeError": "anytime_core.errors",
    "Budget": "anytime_core.sampling.budget",
    "Run": "anytime_core.run",
    "Samples": "anytime_core.sampling.samples",
    "load": "anytime_core.run",
}


def __getattr__(name: str) -> Any:
    """Public names are imported on first use: `import anytime_core` stays free of torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'anytime_core' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
