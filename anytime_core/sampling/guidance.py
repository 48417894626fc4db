"""Guidance by the label: every sequence once with its label and once with the null label, in one stepper of both.

Letters: B batch, P parameters of one code.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from anytime_core.errors import UsageError
from anytime_core.priors.base import Prior
from anytime_core.priors.heads import Head
from anytime_core.priors.stepping import Stepper


def check_guidance(prior: Prior, guidance: float, run: Path) -> None:
    """Raise UsageError if the prior of the run in the folder `run` cannot be guided so."""
    if guidance == 1 or prior.null_label is not None:
        return
    if not prior.classes:
        raise UsageError(f"guidance {guidance:g} needs class labels, which the prior of run {run} does not know: use 1")
    if "label_dropout" not in type(prior.config).model_fields:
        raise UsageError(
            f"guidance {guidance:g} needs a prior that can do without its label, and prior.kind={prior.kind} of run "
            f"{run} cannot: use 1"
        )
    raise UsageError(
        f"guidance {guidance:g} needs a prior that was trained without labels too, and that of run {run} "
        f"was not: use 1, or anytime train --run {run} --stage prior --force "
        "--set prior.label_dropout=0.1"
    )


class GuidedStepper:
    """See `Stepper`: what the prior says of a sequence with its label is moved away from what it says without one.

    Args:
        stepper: of the sequences with their labels, and of the same ones with the null label.
        head: of the prior.
        batch: B.
        guidance: see `Head.guided`.
    """

    def __init__(self, stepper: Stepper, head: Head, batch: int, guidance: float) -> None:
        self.stepper, self.head, self.batch, self.guidance = stepper, head, batch, guidance

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        """Parameters [B, P] of the code at `position`."""
        both = None if previous is None else previous.repeat(2)
        return self.head.guided(self.stepper.step(position, both), self.guidance)

    def keep(self, rows: Tensor) -> None:
        """Go on with the sequences `rows` only."""
        self.stepper.keep(torch.cat([rows, rows + self.batch]))
        self.batch = len(rows)
