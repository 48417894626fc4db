"""What is found, in one file that is replaced after every measurement, so that a run that is killed goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from anytime_core.data.files import write_json

FILE = "priors.json"


class Seconds(BaseModel):
    """What whole samples take, drawn and decoded.

    Attributes:
        way: how they are drawn.
        engine: `auto`, or another one that was asked for.
        chosen: the engine that it was.
        batch: how many at a time.
        codes: of each sample.
        seconds: for the batch.
    """

    way: str
    engine: str
    chosen: str
    batch: int
    codes: int
    seconds: float

    @property
    def a_sample(self) -> float:
        """Seconds for each sample of the batch."""
        return self.seconds / self.batch


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
    timings: list[Seconds] = Field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Replace the file in `folder`."""
        write_json(folder / FILE, self.model_dump(mode="json"))


def read(folder: Path, about: dict[str, Any]) -> Findings:
    """What was found before in `folder`; nothing if there is no such file."""
    path = folder / FILE
    return Findings.model_validate_json(path.read_bytes()) if path.exists() else Findings(about=about)
