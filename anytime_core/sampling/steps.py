"""The loop that draws code after code, of which everything that draws from causal priors is a use.

Letters: B batch, n codes to draw, P parameters of one code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from anytime_core.priors.base import CausalPrior
from anytime_core.priors.blame import CheckedStepper
from anytime_core.priors.heads import Head
from anytime_core.priors.registry import PRIORS
from anytime_core.priors.shaping import Shaping
from anytime_core.priors.stepping import Engine, Stepper
from anytime_core.sampling.guidance import GuidedStepper
from anytime_core.sampling.noise import Noise

Choose = Callable[[int, Tensor], Tensor]
"""(position, parameters [B, P]) -> codes [B]: draws them, takes known ones, ends rows, or feeds an entropy coder."""


def steps(
    stepper: Stepper, positions: Iterable[int], choose: Choose, previous: Tensor | None = None
) -> Iterator[Tensor]:
    """Yield the codes [B] at each of `positions`, which follow each other.

    Args:
        stepper: of the batch; `choose` may have it go on with some of its rows only, and then returns codes of those.
        positions: that are to be drawn.
        choose: decides each code from what the prior says of it.
        previous: the codes [B] before the first of `positions`; None if that is 0.
    """
    for position in positions:
        previous = choose(position, stepper.step(position, previous))
        yield previous


def drawing(head: Head, noise: Noise, shaping: Shaping) -> Choose:
    """Choose each code from the prior's distribution."""

    def choose(position: int, parameters: Tensor) -> Tensor:
        return head.draw(parameters, noise.at(position), shaping)

    return choose


def open_stepper(
    engine: Engine, prior: CausalPrior, labels: Tensor | None, batch: int, length: int, guidance: float
) -> Stepper:
    """A stepper of a new batch, led by its labels if `guidance` is not 1; see `Engine.open`."""
    rows = batch if guidance == 1 else 2 * batch
    stepper = engine.open(labels if guidance == 1 else prior.with_null_labels(labels), rows, length)
    if prior.kind not in PRIORS.built_in:
        stepper = CheckedStepper(stepper, prior, rows)
    return stepper if guidance == 1 else GuidedStepper(stepper, prior.distribution, batch, guidance)


@torch.inference_mode()
def prefixes(stepper: Stepper, batch: int, length: int, choose: Choose, device: torch.device) -> Iterator[Tensor]:
    """Yield [B, 1], [B, 2], ... up to [B, n], views of one buffer; whoever iterates may stop at any time."""
    codes = torch.empty(length, batch, dtype=torch.int64, device=device)
    for position, drawn in enumerate(steps(stepper, range(length), choose)):
        codes[position] = drawn
        yield codes[: position + 1].T
