"""Sampling engines: different ways to run a prior, the same codes from the same noise in float32."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from anytime_core.priors import ARDMPrior, TransformerPrior
from anytime_core.sampling.engines.base import Engine, SteppedEngine
from anytime_core.sampling.engines.calls import CallEngine, EagerCalls, GraphCalls, PlainCalls
from anytime_core.sampling.engines.choice import choose_engine, choose_precision

__all__ = [
    "CALL_ENGINES",
    "ENGINES",
    "PRECISIONS",
    "CallEngine",
    "Engine",
    "SteppedEngine",
    "choose_engine",
    "choose_precision",
]


def _named(module: str, name: str) -> Callable[[TransformerPrior, str], Engine]:
    """An engine whose module is imported when it is first made: not every job needs numba or torch's compiler."""

    def make(prior: TransformerPrior, precision: str) -> Engine:
        return getattr(import_module(f"{__name__}.{module}"), name)(prior, precision)

    return make


ENGINES: dict[str, Callable[[TransformerPrior, str], Engine]] = {
    "plain": _named("plain", "PlainEngine"),
    "eager": _named("eager", "EagerEngine"),
    "numba": _named("numba", "NumbaEngine"),
    "exact": lambda prior, precision: import_module("anytime_core.decoding.exact").ExactEngine(prior, precision),
    "graph": _named("graph", "GraphEngine"),
    "compile": _named("compile", "CompileEngine"),
}
"""Engines by name: (prior, precision) -> engine. Raises UsageError where it has no such device or precision."""

CALL_ENGINES: dict[str, Callable[[ARDMPrior, str], CallEngine]] = {
    "plain": PlainCalls,
    "eager": EagerCalls,
    "graph": GraphCalls,
}
"""Engines of order-agnostic priors by name: (prior, precision) -> engine. Raises UsageError as above."""

PRECISIONS = ("float32", "bfloat16", "int8")
