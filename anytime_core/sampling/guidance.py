"""Guidance by the label: one stepper runs every sequence once with its label and once with the null label.

P is the number of parameters of one code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anytime_core.errors import UsageError
from anytime_core.priors.base import Prior
from anytime_core.priors.heads import Head


def check_guidance(prior: Prior, guidance: float, run: Path) -> None:
    """Raise UsageError if the prior of the run in the folder `run` cannot be guided with this strength."""
    if guidance == 1 or prior.null_label is not None:
        return
    if not prior.classes:
        raise UsageError(f"guidance {guidance:g} needs class labels, which the prior of run {run} does not know: use 1")
    if "label_dropout" not in type(prior.config).model_fields:
        raise UsageError(
            f"guidance {guidance:g} needs a prior that can do without its label, but prior.kind={prior.kind} of run "
            f"{run} cannot: use 1"
        )
    raise UsageError(
        f"guidance {guidance:g} needs a prior that was trained without labels too, but the prior of run {run} "
        f"was not: use 1, or anytime train --run {run} --stage prior --force "
        "--set prior.label_dropout=0.1"
    )


class GuidedStepper:
    """See `Stepper`: the distribution given the label is moved away from the distribution without it.

    Args:
        stepper: runs the sequences with their labels, then the same sequences with the null label.
        head: the prior's head.
        batch: B.
        guidance: see `Head.guided`.
    """

    def __init__(self, stepper: Any, head: Head, batch: int, guidance: float) -> None:
        self.stepper, self.head, self.batch, self.guidance = stepper, head, batch, guidance

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        """Parameters [B, P] of the code at `position`."""
        both = None if previous is None else previous.repeat(2)
        return self.head.guided(self.stepper.step(position, both), self.guidance)

    def step_at(self, position: Tensor, previous: Tensor) -> Tensor:
        """See `CapturableStepper`, which the stepper must be then."""
        return self.head.guided(self.stepper.step_at(position, previous.repeat(2)), self.guidance)

    def restart(self, labels: Tensor | None) -> None:
        """See `CapturableStepper`; labels [2 B]."""
        self.stepper.restart(labels)

    def keep(self, rows: Tensor) -> None:
        """Go on with only the sequences `rows`."""
        self.stepper.keep(torch.cat([rows, rows + self.batch]))
        self.batch = len(rows)
