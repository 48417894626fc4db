"""Anytime sampling: autoregressive generation that can stop at any moment.

`train(recipe)` trains a run, and `load(folder)` opens one that is trained. `Run.sample`, `Run.stream`, `Run.encode` and
`Run.decode` use it.

>>> run = load("runs/image-digits-1", device="cpu")
>>> run.sample(16, budget=0.25).save("coarse")
PosixPath('coarse')
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anytime_core.budget import Budget
    from anytime_core.errors import AnytimeError
    from anytime_core.jobs.sampling import write_samples
    from anytime_core.run import Run, load
    from anytime_core.sampling.options import SamplingOptions
    from anytime_core.sampling.samples import Prefix, Samples
    from anytime_core.training.start import train

__version__ = "0.1.0"
__all__ = [
    "AnytimeError",
    "Budget",
    "Prefix",
    "Run",
    "Samples",
    "SamplingOptions",
    "__version__",
    "load",
    "train",
    "write_samples",
]

_HOMES = {
    "AnytimeError": "anytime_core.errors",
    "Budget": "anytime_core.budget",
    "Prefix": "anytime_core.sampling.samples",
    "Run": "anytime_core.run",
    "Samples": "anytime_core.sampling.samples",
    "SamplingOptions": "anytime_core.sampling.options",
    "load": "anytime_core.run",
    "train": "anytime_core.training.start",
    "write_samples": "anytime_core.jobs.sampling",
}


def __dir__() -> list[str]:
    """Public names, before they are imported too."""
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Public names are imported on first use: `import anytime_core` stays free of torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'anytime_core' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
