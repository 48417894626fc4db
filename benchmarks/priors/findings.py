"""What is found, in one file that is replaced after every measurement, so that a run that is killed goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from anytime_core.data.files import write_json

FILE = "priors.json"

PLAIN = "plain"
"""The engine that every prior has."""


class Timing(BaseModel):
    """What whole samples take, drawn and decoded.

    Attributes:
        way: how they are drawn.
        engine: by which engine.
        batch: how many at a time.
        codes: of each sample.
        seconds: for the batch.
    """

    way: str
    engine: str
    batch: int
    codes: int
    seconds: float

    @property
    def milliseconds(self) -> float:
        """For each sample of the batch."""
        return 1e3 * self.seconds / self.batch


class Findings(BaseModel):
    """All that is not in the runs and their evaluation.

    Attributes:
        about: the processor, its threads, the versions that numbers depend on.
        rates: contender -> training steps in a second of the processor, once a round.
        trainings: contender -> seconds of the processor that its training took, with all validations.
        timings: of samples.
    """

    about: dict[str, Any]
    rates: dict[str, list[float]] = Field(default_factory=dict)
    trainings: dict[str, float] = Field(default_factory=dict)
    timings: list[Timing] = Field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Replace the file in `folder`."""
        write_json(folder / FILE, self.model_dump(mode="json"))


def read(folder: Path, about: dict[str, Any]) -> Findings:
    """What was found before in `folder`; nothing if there is no such file."""
    path = folder / FILE
    return Findings.model_validate_json(path.read_bytes()) if path.exists() else Findings(about=about)
