"""What lies where a data set is looked for: said before training, kept in `run.json`, and compared with later.

A modality whose samples lie in files fills it while it lists them; core makes one of the mere numbers for others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict

from anytime_core.errors import DataError

_File = TypeVar("_File")

_FORMS_NAMED = 20


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


def class_counts(
    classes: Sequence[str], train: Iterable[int] | None, validation: Iterable[int] | None
) -> dict[str, ClassCount]:
    """Items of each class, from the numbers of their classes, which are None without labels."""
    if train is None or validation is None:
        return {}
    of_train, of_validation = Counter(train), Counter(validation)
    return {name: ClassCount(of_train[number], of_validation[number]) for number, name in enumerate(classes)}


def count_forms(
    files: Sequence[_File], form: Callable[[_File], str], *, most: int = 500
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Forms of at most `most` of the files, evenly spread, for `Found`: the most frequent ones first, and notes.

    Args:
        form: what a file's header says, such as `640x480`; raises DataError where it cannot be read.
    """
    looked_at = range(0, len(files), -(-len(files) // most)) if files else range(0)
    counts: Counter[str] = Counter()
    for index in looked_at:
        with suppress(DataError):
            counts[form(files[index])] += 1
    forms = dict(counts.most_common(_FORMS_NAMED))
    if further := counts.total() - sum(forms.values()):
        forms[f"{len(counts) - _FORMS_NAMED} others"] = further
    if len(looked_at) == len(files):
        return forms, ()
    return forms, (f"{len(looked_at)} of {len(files)} files, evenly spread, were looked at for what they are like",)
