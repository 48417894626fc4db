"""Who gets how much of the time: parts share what is left by their weights, and what one leaves goes to the next."""

from __future__ import annotations

import time
from collections.abc import Mapping

_RESERVE = 10.0
"""Seconds for the start and the summary."""


class Schedule:
    """Ends of the parts.

    Args:
        seconds: for all of them.
        weights: name of a part -> its weight, in the order in which they come.
    """

    def __init__(self, seconds: float, weights: Mapping[str, float]) -> None:
        self.ends = time.time() + max(seconds - _RESERVE, seconds / 2)
        self.weights = dict(weights)

    def end_of(self, part: str) -> float:
        """When the part that begins now should have ended, in seconds since 1970; the parts before it are done."""
        names = list(self.weights)
        later = sum(self.weights[name] for name in names[names.index(part) :])
        left = max(0.0, self.ends - time.time())
        return time.time() + left * self.weights[part] / later
