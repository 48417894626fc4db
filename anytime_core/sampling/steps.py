"""The loop that draws code after code. Everything that draws from causal priors uses it.

n is the number of codes to draw, P the number of parameters of one code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from anytime_core.priors.base import CausalPrior
from anytime_core.priors.blame import CheckedStepper
from anytime_core.priors.registry import PRIORS
from anytime_core.priors.stepping import Engine, Stepper
from anytime_core.sampling.guidance import GuidedStepper

Choose = Callable[[int, Tensor], Tensor]
"""(position, parameters [B, P]) -> codes [B]: draws codes, takes known ones, ends rows, or feeds an entropy coder; see
`sampling.choices`."""


def steps(
    stepper: Stepper, positions: Iterable[int], choose: Choose, previous: Tensor | None = None
) -> Iterator[Tensor]:
    """Yield the codes [B] at each of `positions`.

    Args:
        stepper: the stepper of the batch. `choose` may let it keep only some rows, and then returns the codes of these.
        positions: the positions to draw, one after another.
        choose: decides each code from its distribution.
        previous: the codes [B] before the first of `positions`; None if that is 0.
    """
    for position in positions:
        previous = choose(position, stepper.step(position, previous))
        yield previous


def network_labels(prior: CausalPrior, labels: Tensor | None, guidance: float) -> Tensor | None:
    """The labels of all sequences that go through the network for a batch with `labels` [B]; see `GuidedStepper`."""
    return labels if guidance == 1 else prior.with_null_labels(labels)


def open_stepper(
    engine: Engine, prior: CausalPrior, labels: Tensor | None, batch: int, length: int, guidance: float
) -> Stepper:
    """A stepper of a new batch, guided by its labels if `guidance` is not 1; see `Engine.open`."""
    rows = batch if guidance == 1 else 2 * batch
    stepper = engine.open(network_labels(prior, labels, guidance), rows, length)
    if prior.kind not in PRIORS.built_in:
        stepper = CheckedStepper(stepper, prior, rows)
    return stepper if guidance == 1 else GuidedStepper(stepper, prior.distribution, batch, guidance)


@torch.inference_mode()
def prefixes(stepper: Stepper, batch: int, length: int, choose: Choose, device: torch.device) -> Iterator[Tensor]:
    """Yield codes [B, 1], [B, 2], ... up to [B, n], views of one buffer. Iteration may stop at any time."""
    codes = torch.empty(length, batch, dtype=torch.int64, device=device)
    for position, drawn in enumerate(steps(stepper, range(length), choose)):
        codes[position] = drawn
        yield codes[: position + 1].T
