"""What a sampler needs of a run, so that it need not know runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anytime_core.labels import ClassLabels
from anytime_core.priors.base import Prior
from anytime_core.sampling.adaptive import Gains
from anytime_core.sampling.deadline import Costs
from anytime_core.sampling.engines import Engines


@dataclass
class Source:
    """Where samples come from.

    Attributes:
        run: the opened run, which samples remember.
        folder: of the run, in messages.
        prior: that draws codes, in evaluation mode.
        decode: (codes [B, n], lengths [B] or None) -> samples [B, *sample_shape] on the CPU.
        labels: classes, and how they are named.
        costs: what decoding and writing took in calls with a deadline.
        gains: what each code brings, for adaptive budgets. Raises RunError if the run does not know.
        device: of prior and decoder.
        engines: of the prior.
        loops: captured ones, by their engine.
        prepared: batch sizes and engines that calls with a deadline are ready for, with whether their decoding is
            faster on all threads than on one.
    """

    run: Any
    folder: Path
    prior: Prior
    decode: Callable[..., Tensor]
    labels: ClassLabels
    costs: Costs
    gains: Callable[[], Gains]
    device: torch.device
    engines: Engines[Any]
    loops: dict[object, object] = field(default_factory=dict)
    prepared: dict[tuple[int, object], bool] = field(default_factory=dict)
