"""Progress for people where there is no terminal to draw a bar on."""

from __future__ import annotations

import time
from collections.abc import Callable

from anytime_core.display import shown

_FIRST_SECONDS, _SECONDS = 5.0, 10.0


class ProgressLines:
    """Tells now and then, of work that takes longer than a few seconds, how far it is.

    Args:
        activity: what is being done, where a call does not say it.
        say: writes a line.
        clock: in seconds.
    """

    def __init__(self, activity: str, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.activity, self.say, self.clock = activity, say, clock
        self._next = clock() + _FIRST_SECONDS

    def __call__(self, done: int, total: int, now: str = "", /) -> None:
        """How much is done of how much there is, and what is being done now."""
        moment = self.clock()
        if moment >= self._next:
            self._next = moment + _SECONDS
            self.say(f"{shown(now or self.activity)}: {done:,} of {total:,}")
