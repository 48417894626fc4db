"""What was found in the data: shown before training, kept in `run.json`, and compared with later data.

A modality whose samples are in files fills a `Found` while it lists them. For other modalities core only counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict

from anytime_core.display import counted, listed, shown
from anytime_core.errors import DataError

_File = TypeVar("_File")

_FORMS_NAMED = 20


class ClassCount(NamedTuple):
    """The number of items of one class."""

    train: int
    validation: int


class PassedOver(BaseModel):
    """Things of one kind that are in the data folder and not used.

    Attributes:
        reason: what they are and why they are not used, such as `files with suffix .heic, which is not read`.
        count: how many there are.
        examples: the first few, relative to the root.
        way_out: what would make them used; empty if nothing would.
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
        classes: name -> its items, in the order of the class numbers, None if they were not counted; empty without
            labels.
        forms: original sizes or rates of the items, such as `640x480`, -> how many; empty if not known.
        notes: sentences on how folders were understood, such as which of them is held out.
        passed_over: what is not used.
        digest: digest of the names and sizes of all items, in order; empty if there is no listing.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    root: Path | None = None
    train: int
    validation: int
    classes: dict[str, ClassCount | None] = {}
    forms: dict[str, int] = {}
    notes: tuple[str, ...] = ()
    passed_over: tuple[PassedOver, ...] = ()
    digest: str = ""

    def lines(self) -> list[str]:
        """The same as text, one line for each subject."""
        place = f" in {shown(self.root)}" if self.root is not None else ""
        lines = [f"{counted(self.train, 'items')} to train on and {self.validation:,} held out{place}"]
        if self.classes:
            named = [
                shown(name) if count is None else f"{shown(name)} ({count.train:,} + {count.validation:,})"
                for name, count in self.classes.items()
            ]
            counts = " (to train on + held out)" if None not in self.classes.values() else ""
            lines.append(f"{counted(len(named), 'classes')}{counts}: {listed(named)}")
        if self.forms:
            common = Counter(self.forms).most_common()
            lines.append(f"as they lie there: {listed([f'{shown(form)} ({count:,})' for form, count in common])}")
        lines += map(shown, self.notes)
        for passed in self.passed_over:
            examples = f", such as {listed([shown(name) for name in passed.examples])}" if passed.examples else ""
            way_out = f"; {shown(passed.way_out)}" if passed.way_out else ""
            lines.append(f"not used: {counted(passed.count, shown(passed.reason))}{examples}{way_out}")
        return lines

    def listing_difference(self, now: Found) -> str:
        """How the items that are there `now` differ from these, in words; empty if no difference is known.

        Their place does not count, so data that was moved is the same. The names of classes do not count either.
        """
        if (self.train, self.validation) != (now.train, now.validation):
            return (
                f"{counted(now.train, 'items')} to train on and {now.validation:,} held out, instead of "
                f"{self.train:,} and {self.validation:,}"
            )
        if self.digest and now.digest:
            return "" if self.digest == now.digest else "as many items, but with other names or sizes"
        shared = [name for name, count in self.classes.items() if count is not None and now.classes.get(name)]
        moved = [shown(name) for name in shared if self.classes[name] != now.classes[name]]
        return f"as many items, but others of class {listed(moved)}" if moved else ""


def class_difference(before: Sequence[str], now: Sequence[str]) -> str:
    """How the classes that are there `now` differ from those `before`, in words; empty if they do not."""
    known, present = set(before), set(now)
    new = [shown(name) for name in now if name not in known]
    gone = [shown(name) for name in before if name not in present]
    parts = [f"{listed(names)} {what}" for names, what in ((new, "new"), (gone, "gone")) if names]
    if parts:
        return f"other classes ({'; '.join(parts)})"
    if list(before) != list(now):
        orders = [listed([*map(shown, names)]) for names in (now, before)]
        return f"the same classes in another order ({orders[0]}, not {orders[1]})"
    return ""


def class_counts(
    classes: Sequence[str], train: Iterable[int] | None, validation: Iterable[int] | None
) -> dict[str, ClassCount]:
    """The number of items of each class, from the class number of each item; None without labels."""
    if train is None or validation is None:
        return {}
    trained, held = Counter(train), Counter(validation)
    return {name: ClassCount(trained[number], held[number]) for number, name in enumerate(classes)}


def count_forms(
    files: Sequence[_File], form: Callable[[_File], str], *, most: int = 500
) -> tuple[dict[str, int], tuple[str, ...]]:
    """The forms of at most `most` files, evenly spread, and notes, for `Found`; the most frequent forms first.

    Args:
        form: what a file's header says, such as `640x480`; raises DataError if it cannot be read.
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
    return forms, (
        f"{len(looked_at):,} of {counted(len(files), 'files')}, evenly spread, were looked at for what they are like",
    )
