"""So many samples of each class: which class a sample is of follows from its global index."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence

from anytime_core.display import shown
from anytime_core.errors import UsageError
from anytime_core.labels import ClassLabels

_DIGITS = 12


class LabelCounts:
    """Classes one after the other, so many samples of each.

    Args:
        classes: of the run.
        counts: name of a class, or its number, in text `index:3`, and how many samples.

    Attributes:
        total: samples of all classes.

    Raises:
        UsageError: there is no such class, or it stands twice.
    """

    def __init__(self, classes: ClassLabels, counts: Sequence[tuple[int | str, int]]) -> None:
        self._numbers: list[int] = []
        for label, _ in counts:
            number = classes.number(label)
            assert number is not None
            if number in self._numbers:
                raise UsageError(f"class '{shown(classes.names[number])}' is counted twice: give it one count")
            self._numbers.append(number)
        self._ends = list(itertools.accumulate(count for _, count in counts))
        self.total = self._ends[-1]

    def label(self, index: int) -> int:
        """The number of a sample's class. Raises UsageError for an index that no class has."""
        if index >= self.total:
            raise UsageError(f"sample {index} has no label, as their counts are of {self.total} samples: raise one")
        return self._numbers[bisect.bisect_right(self._ends, index)]


def counted_label(text: str, classes: Sequence[str]) -> tuple[str, int | None]:
    """A class as a command line names it, and the number of samples of `cat=10`; None where there is none.

    Text is a name first: where a class is named `cat=10`, it is that one.

    Raises:
        UsageError: the number is none, or 0.
    """
    label, equals, count = text.rpartition("=")
    if text in classes or not equals:
        return text, None
    if not (count.isascii() and count.isdecimal() and len(count) <= _DIGITS and int(count)):
        raise UsageError(
            f"label '{shown(text)}' is no class, and '{shown(count)}' no number of samples of class '{shown(label)}': "
            f"write a whole number from 1 on, as in {shown(label)}=10"
        )
    return label, int(count)
