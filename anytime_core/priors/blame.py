"""Faults of priors that other distributions declare: one error that names the prior and its distribution.

P is the number of parameters of one code.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from anytime_core.entry_points import debugging, failure, find_declared
from anytime_core.errors import AnytimeError, PluginError
from anytime_core.exhaustion import exhausted
from anytime_core.priors.base import CausalPrior
from anytime_core.priors.registry import PRIOR_GROUP, PRIORS


@contextmanager
def blaming(kind: str) -> Iterator[None]:
    """Turn errors from the code of a plugin's prior into one PluginError; all other errors pass unchanged.

    Errors that say what to do also pass, and so do errors of memory or of processes that have ended.

    Args:
        kind: the kind of the prior that the block runs.
    """
    try:
        yield
    except AnytimeError:
        raise
    except Exception as error:
        if kind in PRIORS.built_in or exhausted(error) is not None or not _passed(error, kind):
            raise
        if debugging():
            traceback.print_exception(error)
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        raise PluginError(failure(find_declared(PRIOR_GROUP, kind), f"fails: {cause}")) from error


def _passed(error: Exception, kind: str) -> bool:
    """Whether an error came through a function of the package that declares a prior."""
    package = PRIORS[kind].__module__.partition(".")[0]
    modules = (frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(module.partition(".")[0] == package for module in modules)


def checked(kind: str, what: str, values: Tensor, wanted: tuple[int, ...]) -> Tensor:
    """`values` that a prior has computed. Raises PluginError if they are not of the shape that its contract says.

    Args:
        kind: of the prior.
        what: they are, in words that `are` follows.
        values: as the prior gives them.
        wanted: their shape.
    """
    if not isinstance(values, Tensor):
        raise breach(kind, f"{what} are a {type(values).__name__}, where they should be a tensor {list(wanted)}")
    if values.shape != wanted:
        raise breach(kind, f"{what} are {list(values.shape)}, where they should be {list(wanted)}")
    return values


def breach(kind: str, what: str) -> PluginError:
    """What to say of a prior that is not what its contract says."""
    return PluginError(f"{PRIORS.origin(kind)} does not keep the contract of priors: {what}")


class CheckedStepper:
    """A stepper whose results are checked for their shape; see `Stepper`.

    Args:
        stepper: the stepper of a plugin's prior.
        prior: the prior.
        batch: B.
    """

    def __init__(self, stepper: Any, prior: CausalPrior, batch: int) -> None:
        self.stepper, self.prior, self.batch = stepper, prior, batch

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        """Parameters [B, P]. Raises PluginError for any other shape."""
        return self._checked(self.stepper.step(position, previous))

    def step_at(self, position: Tensor, previous: Tensor) -> Tensor:
        """See `CapturableStepper`, which the stepper must be then. Raises PluginError as `step` does."""
        return self._checked(self.stepper.step_at(position, previous))

    def restart(self, labels: Tensor | None) -> None:
        """See `CapturableStepper`."""
        self.stepper.restart(labels)

    def keep(self, rows: Tensor) -> None:
        """Go on with only the sequences `rows`."""
        self.stepper.keep(rows)
        self.batch = len(rows)

    def _checked(self, parameters: Tensor) -> Tensor:
        return checked(self.prior.kind, "parameters of a step", parameters, (self.batch, self.prior.distribution.size))
