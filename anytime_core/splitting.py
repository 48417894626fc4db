"""Which items of a user's data are trained on, which are held out, and which classes that leaves.

The rules are the same wherever items come from, a folder or shards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from anytime_core.display import shown
from anytime_core.errors import DataError
from anytime_core.found import ClassCount, class_counts
from anytime_core.listing import Tally

TRAINING_NAMES = ("train", "training")
"""What a user's data calls the part that is trained on, the first taken before the others."""

VALIDATION_NAMES = ("val", "valid", "validation", "dev", "test", "testing")
"""What it calls the part that is not, the first taken before the others: tests are kept for later where both lie."""

_NAMED_CLASSES = 3


@dataclass(frozen=True)
class Items:
    """n items as they lie there.

    Attributes:
        name: index -> what it is called, below the root.
        labels: int64 [n], positions in `classes`; -1 where an item has none.
        classes: the names that labels have.
        held: bool [n], what lies where its owner keeps what is not trained on; None where nothing is named so.
        ranks: uint32 [n], made when they are needed, see `user_files.rank`.
    """

    name: Callable[[int], str]
    labels: np.ndarray
    classes: tuple[str, ...]
    held: np.ndarray | None
    ranks: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Split:
    """Items that are used.

    Attributes:
        train, validation: int64, indices of items, both in order.
        classes: their names in the order of their numbers; empty where labels are not used.
        labels: int64 [n] of all items, positions in `classes`; None where labels are not used.
        notes: sentences on what was decided.
    """

    train: np.ndarray
    validation: np.ndarray
    classes: tuple[str, ...]
    labels: np.ndarray | None
    notes: tuple[str, ...]

    def class_counts(self) -> dict[str, ClassCount]:
        """Items of each class."""
        if self.labels is None:
            return {}
        return class_counts(self.classes, self.labels[self.train].tolist(), self.labels[self.validation].tolist())


def split(items: Items, share: float, tally: Tally, *, noun: str, unlabelled: str) -> Split:
    """Decide what is trained on and what is held out.

    Labels are used where training items have two classes or more and most of them have one; items without a label, and
    those of classes that nothing is trained on, are then passed over. What is named for validation is held out, else,
    or where nothing of it is left, `share` of what is trained on, but never all of a class.

    Args:
        share: of the items, for validation.
        tally: counts what is passed over.
        noun: what one item is, for messages.
        unlabelled: what items without a label are, such as `images beside class folders`.

    Raises:
        DataError: there is only one item to train on and to hold out from.
    """
    held, labels, notes = items.held, items.labels, []
    trained = np.ones(len(labels), bool) if held is None else ~held
    counts = np.bincount(labels[trained & (labels >= 0)], minlength=len(items.classes))
    known, total = int(counts.sum()), int(trained.sum())
    labelled = (counts > 0).sum() >= 2 and 2 * known >= total
    if known < total and (counts > 0).sum() >= 2 and not labelled:
        notes.append(f"labels are not used: {total - known} of {total} {noun}s have none ({unlabelled})")
    used = np.ones(len(labels), bool)
    if labelled:
        of_trained = np.append(counts > 0, False)[labels]  # the last is that of -1
        used = of_trained
        if held is not None and not (used & held).any():
            notes.append(
                f"no {noun} that is named for validation has a class that is trained on: "
                f"a share of the others is held out instead"
            )
            _pass_over(np.flatnonzero(held), f"{noun}s for validation without a class that is trained on", items, tally)
            used = used & ~held
            _pass_over(np.flatnonzero((labels < 0) & ~held), unlabelled, items, tally)
            held = None
        else:
            _pass_over(np.flatnonzero(labels < 0), unlabelled, items, tally)
            untrained = np.flatnonzero((labels >= 0) & ~of_trained)
            names = _some([items.classes[label] for label in np.unique(labels[untrained])])
            _pass_over(untrained, f"{noun}s of classes that nothing is trained on ({names})", items, tally)
    indices = np.flatnonzero(used)
    if held is None:
        if len(indices) < 2:
            only = shown(items.name(int(indices[0])))
            raise DataError(f"{only} is the only {noun}: at least 2 are needed, one of them for validation")
        if labelled and counts.max() < 2:
            notes.append(f"labels are not used: no class has more than one {noun}")
            labelled = False
        held_of_used = held_out(items.ranks()[indices], share, labels[indices] if labelled else None)
    else:
        held_of_used = held[indices]
    train, validation = indices[~held_of_used], indices[held_of_used]
    if not labelled:
        return Split(train, validation, (), None, tuple(notes))
    kept = np.flatnonzero(counts > 0)
    numbers = np.full(len(items.classes) + 1, -1)
    numbers[kept] = np.arange(len(kept))
    result = Split(train, validation, tuple(items.classes[label] for label in kept), numbers[labels], ())
    never_held = [name for name, count in result.class_counts().items() if not count.validation]
    if never_held:
        notes.append(f"nothing is held out of {len(never_held)} of {len(kept)} classes ({_some(never_held)})")
    return Split(result.train, result.validation, result.classes, result.labels, tuple(notes))


def held_out(ranks: np.ndarray, share: float, labels: np.ndarray | None = None) -> np.ndarray:
    """Which of n >= 2 items are for validation, bool [n]: about `share`, at least one and not all.

    Args:
        ranks: uint32 [n].
        share: of the items.
        labels: int64 [n]; of each of them, the item that ranks last is not held out. One has two items or more.
    """
    held = ranks < share * 2**32
    if held.all() or not held.any():
        held = np.arange(len(ranks)) == ranks.argmin()
    if labels is None:
        return held
    order = np.lexsort((ranks, labels))
    last = np.zeros(len(ranks), bool)
    last[order[np.append(np.diff(labels[order]) != 0, True)]] = True
    held &= ~last
    return held if held.any() else np.arange(len(ranks)) == np.where(last, np.inf, ranks).argmin()


def _pass_over(indices: np.ndarray, reason: str, items: Items, tally: Tally) -> None:
    tally.add_all(reason, (items.name(int(index)) for index in indices), len(indices))


def _some(names: list[str]) -> str:
    further = len(names) - _NAMED_CLASSES
    listed = ", ".join(map(shown, names[:_NAMED_CLASSES]))
    return f"{listed} and {further} more" if further > 0 else listed
