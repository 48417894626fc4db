"""What a training will do, for people and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from anytime_cli import output
from anytime_core.display import counted, shown

if TYPE_CHECKING:
    from anytime_core.record import Stage
    from anytime_core.training.outline import Outline

_LONG = 3600
"""Seconds; if a training takes longer, a quick look is suggested."""


class Teller:
    """Says what is trained before the first step, and how long it takes once that is known."""

    def __init__(self) -> None:
        self._has_quick = False

    def announce(self, outline: Outline) -> None:
        """Say what is trained."""
        self._has_quick = outline.has_quick
        announce(outline)

    def forecast(self, seconds: Mapping[Stage, float]) -> None:
        """Say how long it will take."""
        forecast(seconds, has_quick=self._has_quick)


def announce(outline: Outline, doing: str = "training") -> None:
    """Say what is trained, into which folder, and on which data."""
    from anytime_core.data.locations import from_here
    from anytime_core.record import STAGES

    stages = "" if tuple(outline.steps) == STAGES else f": {', '.join(outline.steps)}"
    output.say(f"{doing} {shown(outline.name)} into {shown(outline.run)}{stages}")
    if outline.autoencoder is not None:
        output.say(f"  on the autoencoder and the codes of {shown(from_here(outline.autoencoder))}")
    if outline.prior_sizes:
        output.say(f"  prior: {shown(outline.prior_sizes)}")
    for line in outline.found.lines() if outline.found is not None else ():
        output.say(f"  {line}")


def forecast(seconds: Mapping[Stage, float], *, has_quick: bool) -> None:
    """Say how long a training will still take, by stage, and what is quicker if that is long."""
    total = sum(seconds.values())
    stages = ", ".join(f"{stage} {_duration(own)}" for stage, own in seconds.items())
    output.say(f"training will take about {_duration(total)}, validation included: {stages}")
    if total > _LONG:
        quicker = (
            "--quick trains a small variant in minutes"
            if has_quick
            else "train fewer steps, with --set training.autoencoder.steps=300 --set training.prior.steps=300"
        )
        output.say(f"  for a first look, {quicker}; stop this one with Ctrl-C, and resume it with --resume")


def _duration(seconds: float) -> str:
    """A duration in words, such as `40 seconds`, `12 minutes` or `3.5 hours`."""
    for unit, size in (("hour", 3600), ("minute", 60)):
        if seconds >= 1.5 * size:
            number = seconds / size
            return f"{number:.1f} {unit}s" if unit == "hour" and number < 10 else f"{number:.0f} {unit}s"
    return f"{max(1, round(seconds))} second{'' if round(seconds) <= 1 else 's'}"


def show(outline: Outline, *, json: bool) -> None:
    """Print what a dry run found."""
    if json:
        found = outline.found.model_dump(mode="json") if outline.found is not None else None
        taken = str(outline.autoencoder) if outline.autoencoder is not None else None
        output.print_json({**vars(outline), "run": str(outline.run), "autoencoder": taken, "found": found})
        return
    if not outline.steps:
        output.say(f"run {shown(outline.run)} is finished: nothing would be trained")
        return
    announce(outline, "would train")
    codebook = f"{outline.codebook_size:,}" if outline.codebook_size is not None else "none, they are continuous"
    output.say(f"  code length {outline.code_length:,}, codebook size {codebook}, on {shown(outline.device)}")
    for number, (stage, steps) in enumerate(outline.steps.items()):
        done = f", {outline.done:,} of them done" if outline.done and not number else ""
        weights = f", {outline.weights[stage]:,} weights" if stage in outline.weights else ""
        output.say(f"  stage {stage}: {counted(steps, 'steps')}{done}{weights}")
    output.say("nothing was trained, and no run was made")
