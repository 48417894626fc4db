"""What a training will do, for people and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anytime_cli import output
from anytime_core.display import counted, shown

if TYPE_CHECKING:
    from anytime_core.training.outline import Outline


def announce(outline: Outline, name: str, doing: str = "training") -> None:
    """Say what `name`, such as a recipe, is trained on and into, a line for each subject."""
    from anytime_core.record import STAGES

    stages = "" if tuple(outline.steps) == STAGES else f": {', '.join(outline.steps)}"
    output.say(f"{doing} {shown(name)} into {shown(outline.run)}{stages}")
    for line in outline.found.lines() if outline.found is not None else ():
        output.say(f"  {line}")


def show(outline: Outline, name: str, *, json: bool) -> None:
    """Print what a dry run found."""
    if json:
        found = outline.found.model_dump(mode="json") if outline.found is not None else None
        output.print_json({**vars(outline), "run": str(outline.run), "found": found})
        return
    announce(outline, name, "would train")
    codebook = f"{outline.codebook_size:,}" if outline.codebook_size is not None else "none, they are continuous"
    output.say(f"  code length {outline.code_length:,}, codebook size {codebook}, on {shown(outline.device)}")
    for number, (stage, steps) in enumerate(outline.steps.items()):
        done = f", {outline.done:,} of them done" if outline.done and not number else ""
        weights = f", {outline.weights[stage]:,} weights" if stage in outline.weights else ""
        output.say(f"  stage {stage}: {counted(steps, 'steps')}{done}{weights}")
    output.say("nothing was trained, and no run was made")
