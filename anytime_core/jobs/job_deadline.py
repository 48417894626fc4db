"""The deadline of a sampling job, and what the job measures so that later ones keep theirs."""

from __future__ import annotations

import time
from typing import Any

import torch

from anytime_core.jobs.output import Output
from anytime_core.jobs.preview import Preview
from anytime_core.run import Run
from anytime_core.sampling.deadline import Deadline

_PREVIEW_SHARE = 0.2
"""The share of a deadline that a preview may take."""


class JobDeadline:
    """A job's deadline, which begins when this object is made.

    The preview is left out unless it is known to take little of the time.

    Args:
        run: the opened run.
        seconds: the time for all samples.
        samples: how many there are.
        preview: the preview of the job.
    """

    def __init__(self, run: Run, seconds: float, samples: int, preview: Preview) -> None:
        self.run, self.samples = run, samples
        expected = run.costs.expected("preview", preview.number)
        preview.wanted = expected is not None and expected <= _PREVIEW_SHARE * seconds
        last = {"finish": samples, "close": samples}
        if preview.wanted:
            last["preview"] = preview.number
        self.deadline = Deadline(seconds, run.costs, ["decode", "write"], last=last)

    def measure_writing(self, output: Output[Any]) -> None:
        """Write a sample twice and remove it, if no earlier call with a deadline has measured what writing costs."""
        if self.run.costs.expected("write", 1) is None:
            x = self.run.decode(torch.zeros(1, 1, dtype=torch.int64))[0]
            output.try_out(x)  # the first one imports what writes files
            started = time.perf_counter()
            output.try_out(x)
            self.run.costs.note("write", 1, time.perf_counter() - started)

    def told(self) -> dict[str, float]:
        """What `samples.json` says of it, when only finishing and closing are left."""
        left = {"finish": self.samples, "close": self.samples}
        return {"seconds": self.deadline.seconds, "took": round(self.deadline.took(left), 4)}
