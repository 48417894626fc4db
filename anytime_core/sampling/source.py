"""What a sampler needs of a run, so that it does not depend on runs."""

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
        folder: the run folder, for messages.
        prior: the prior, in evaluation mode.
        decode: (codes [B, n], lengths [B] or None) -> samples [B, *sample_shape] on the CPU; n is at most N.
        decode_on_device: the same, but samples stay on the device, which may still be at work on them.
        labels: the labels that the prior can be given.
        costs: the times of decoding and writing in calls with a deadline.
        gains: returns what each code brings, for adaptive budgets. Raises RunError if the run has no measurements.
        device: the device of prior and decoder.
        engines: the engines of the prior.
        loops: engine -> its captured loops.
        prepared: work that calls with a deadline are ready for -> whether decoding is faster on all threads than on
            one.
    """

    run: Any
    folder: Path
    prior: Prior
    decode: Callable[..., Tensor]
    decode_on_device: Callable[..., Tensor]
    labels: ClassLabels
    costs: Costs
    gains: Callable[[], Gains]
    device: torch.device
    engines: Engines[Any]
    loops: dict[object, object] = field(default_factory=dict)
    prepared: dict[tuple[object, ...], bool] = field(default_factory=dict)
