"""What lies where a data set is looked for: said before training, kept in `run.json`, and compared with later.

A modality whose samples lie in files fills it while it lists them; core makes one of the mere numbers for others.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict


class ClassCount(NamedTuple):
    """Items of one class."""

    train: int
    validation: int


class PassedOver(BaseModel):
    """Things of one kind that lie there and are not used.

    Attributes:
        reason: what they are and why they are not used, such as `files with suffix .heic, which is not read`.
        count: how many.
        examples: the first few, relative to the root.
        way_out: what would make them used; empty where nothing would.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    reason: str
    count: int
    examples: tuple[str, ...] = ()
    way_out: str = ""


class Found(BaseModel):
    """What was found.

    Attributes:
        root: the folder, absolute; None for data that lies in no folder.
        train: items to train on.
        validation: items held out.
        classes: name -> its items, in the order of their numbers; empty without labels.
        forms: sizes or rates of the items as they lie there, such as `640x480`, -> how many; empty where not known.
        notes: sentences on how folders were understood, such as which of them is held out.
        passed_over: what is not used.
        digest: of the names and sizes of all items, in order; empty where there is no listing.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    root: Path | None = None
    train: int
    validation: int
    classes: dict[str, ClassCount] = {}
    forms: dict[str, int] = {}
    notes: tuple[str, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()
    digest: str = ""
