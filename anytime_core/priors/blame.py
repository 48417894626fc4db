"""Faults of priors that other distributions declare: one error that names the prior and its distribution.

Letters: B batch, P parameters of one code.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from anytime_core.entry_points import debugging, failure, find_declared
from anytime_core.errors import AnytimeError, PluginError
from anytime_core.exhaustion import exhausted
from anytime_core.priors.base import CausalPrior
from anytime_core.priors.registry import PRIOR_GROUP, PRIORS
from anytime_core.priors.stepping import CapturedEngine, Engine, Stepper


@contextmanager
def blaming(kind: str) -> Iterator[None]:
    """Errors of a block that runs the code of a prior become one PluginError, if a plugin declares its kind.

    Errors that say what to do themselves go on as they are, and so do those of memory or processes that are gone.
    """
    try:
        yield
    except AnytimeError:
        raise
    except Exception as error:
        if kind in PRIORS.built_in or exhausted(error) is not None:
            raise
        if debugging():
            traceback.print_exception(error)
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        raise PluginError(failure(find_declared(PRIOR_GROUP, kind), f"fails: {cause}")) from error


def watched(engine: Engine, prior: CausalPrior) -> Engine:
    """An engine of a plugin's prior, with its faults named; others as they are, since naming them takes time."""
    # The steps of a captured engine run while they are captured, and not when they are replayed.
    if prior.kind in PRIORS.built_in or isinstance(engine, CapturedEngine):
        return engine
    return _WatchedEngine(engine, prior)


class _WatchedEngine(Engine):
    def __init__(self, engine: Engine, prior: CausalPrior) -> None:
        self.name, self.precisions = engine.name, engine.precisions  # type: ignore[misc]
        self.engine, self.prior, self.precision = engine, prior, engine.precision

    def open(self, labels: Tensor | None, batch: int, length: int) -> Stepper:
        with blaming(self.prior.kind):
            return _WatchedStepper(self.engine.open(labels, batch, length), self, batch)


class _WatchedStepper:
    def __init__(self, stepper: Stepper, engine: _WatchedEngine, batch: int) -> None:
        self.stepper, self.engine, self.batch = stepper, engine, batch

    def step(self, position: int, previous: Tensor | None) -> Tensor:
        prior = self.engine.prior
        with blaming(prior.kind):
            parameters = self.stepper.step(position, previous)
        if parameters.shape != (self.batch, prior.distribution.size):
            raise PluginError(
                f"{PRIORS.origin(prior.kind)} does not keep the contract of priors: a step of engine "
                f"'{self.engine.name}' gives {list(parameters.shape)}, where it should be "
                f"{[self.batch, prior.distribution.size]}"
            )
        return parameters

    def keep(self, rows: Tensor) -> None:
        with blaming(self.engine.prior.kind):
            self.stepper.keep(rows)
        self.batch = len(rows)
