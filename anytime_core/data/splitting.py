"""Which items of a user's data are trained on, which are held out, and which classes remain.

The rules are the same for folders and for shards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from anytime_core.data.listing import Tally
from anytime_core.display import counted, shown
from anytime_core.errors import DataError

TRAINING_NAMES = ("train", "training")
"""Names of the part that is trained on; earlier names are preferred."""

VALIDATION_NAMES = ("val", "valid", "validation", "dev", "test", "testing")
"""Names of the held-out part; earlier names are preferred, so that a test part stays unused if there is another."""

_NAMED_CLASSES = 3


@dataclass(frozen=True)
class Items:
    """n items as they were found.

    Attributes:
        name: index -> the name of the item, relative to the root.
        labels: int64 [n], positions in `classes`; -1 if an item has none.
        classes: the names that labels have.
        held: bool [n], items in a part named for validation; None if no part is named so.
        ranks: makes uint32 [n] when they are needed, see `user_files.rank`.
    """

    name: Callable[[int], str]
    labels: np.ndarray
    classes: tuple[str, ...]
    held: np.ndarray | None
    ranks: Callable[[], np.ndarray]


@dataclass(frozen=True)
class Split:
    """The items that are used.

    Attributes:
        train, validation: int64, indices of items, both in order.
        classes: their names in the order of their numbers; empty if labels are not used.
        labels: int64 [n] of all items, positions in `classes`; None if labels are not used.
        notes: sentences that say what was decided.
    """

    train: np.ndarray
    validation: np.ndarray
    classes: tuple[str, ...]
    labels: np.ndarray | None
    notes: tuple[str, ...]


def split(items: Items, share: float, tally: Tally, *, noun: str, unlabelled: str) -> Split:
    """Decide what is trained on and what is held out.

    Labels are used if training items have two classes or more and most of them have one; items without a label, and
    those of classes that nothing is trained on, are then passed over. Items named for validation are held out. If there
    are none, or none is left, `share` of the training items is held out, but never all of a class.

    Args:
        share: of the items, for validation.
        tally: counts what is passed over.
        noun: the word for one item, for messages.
        unlabelled: words for items without a label, such as `images beside class folders`.

    Raises:
        DataError: there is only one item, which cannot be both trained on and held out.
    """
    notes: list[str] = []
    trained = _trained_classes(items, noun, unlabelled, notes)
    used, held = np.ones(len(items.labels), bool), items.held
    if trained.any():
        used, held = _of_classes(trained, items, tally, noun, unlabelled, notes)
    indices = np.flatnonzero(used)
    if held is None:
        if len(indices) < 2:
            only = shown(items.name(int(indices[0])))
            raise DataError(f"{only} is the only {noun}: at least 2 are needed, one of them for validation")
        labels = items.labels[indices]
        if trained.any() and np.bincount(labels).max() < 2:
            notes.append(f"labels are not used: no class has more than one {noun}")
            trained = np.zeros_like(trained)
        apart = held_out(items.ranks()[indices], share, labels if trained.any() else None)
    else:
        apart = held[indices]
    train, validation = indices[~apart], indices[apart]
    if not trained.any():
        return Split(train, validation, (), None, tuple(notes))
    numbers = np.append(np.where(trained, trained.cumsum() - 1, -1), -1)[items.labels]
    classes = tuple(name for name, known in zip(items.classes, trained, strict=True) if known)
    held_classes = set(numbers[validation].tolist())
    never_held = [name for number, name in enumerate(classes) if number not in held_classes]
    if never_held:
        notes.append(
            f"nothing is held out of {len(never_held):,} of {counted(len(classes), 'classes')} ({_some(never_held)})"
        )
    return Split(train, validation, classes, numbers, tuple(notes))


def _trained_classes(items: Items, noun: str, unlabelled: str, notes: list[str]) -> np.ndarray:
    """Which classes have training items, bool [classes]; none of them if labels are not used."""
    labels = items.labels if items.held is None else items.labels[~items.held]
    without = int((labels < 0).sum())
    counts = np.bincount(labels[labels >= 0], minlength=len(items.classes))
    trained = counts > 0
    if trained.sum() < 2:
        return np.zeros_like(trained)
    if 2 * without > len(labels):
        notes.append(f"labels are not used: {without:,} of {counted(len(labels), f'{noun}s')} have none ({unlabelled})")
        return np.zeros_like(trained)
    lying = np.bincount(items.labels[items.labels >= 0], minlength=len(items.classes))
    if empty := [name for name, count in zip(items.classes, lying, strict=True) if not count]:
        notes.append(f"without {noun}s and so no class: {_some(empty)}")
    return trained


def _of_classes(
    trained: np.ndarray, items: Items, tally: Tally, noun: str, unlabelled: str, notes: list[str]
) -> tuple[np.ndarray, np.ndarray | None]:
    """Which items are of `trained` classes, bool [n], and which of them are held out by name, None if none is."""
    labels, held = items.labels, items.held
    used = np.append(trained, False)[labels]  # the last one is for label -1
    counted = np.ones(len(labels), bool)
    if held is not None and not (used & held).any():
        notes.append(f"no {noun} named for validation is of a class that is trained on: a share is held out instead")
        _pass_over(held, f"{noun}s for validation of no class that is trained on", items, tally)
        counted, held = ~held, None
    _pass_over(counted & (labels < 0), unlabelled, items, tally)
    untrained = counted & (labels >= 0) & ~used
    names = _some([items.classes[label] for label in np.unique(labels[untrained])])
    _pass_over(untrained, f"{noun}s of classes that nothing is trained on ({names})", items, tally)
    return used, held


def held_out(ranks: np.ndarray, share: float, labels: np.ndarray | None = None) -> np.ndarray:
    """Which of n >= 2 items are for validation, bool [n]: about `share` of them, at least one and not all.

    Args:
        ranks: uint32 [n].
        share: of the items.
        labels: int64 [n]; the item of each label that ranks last is not held out. One label has two items or more.
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


def _pass_over(which: np.ndarray, reason: str, items: Items, tally: Tally) -> None:
    indices = np.flatnonzero(which)
    tally.add_all(reason, (items.name(int(index)) for index in indices), len(indices))


def _some(names: list[str]) -> str:
    further = len(names) - _NAMED_CLASSES
    listed = ", ".join(map(shown, names[:_NAMED_CLASSES]))
    return f"{listed} and {further} more" if further > 0 else listed
