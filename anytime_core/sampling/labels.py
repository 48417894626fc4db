"""A number of samples of each class: the class of a sample follows from its global index."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence

from anytime_core.display import shown
from anytime_core.errors import UsageError
from anytime_core.labels import ClassLabels

_DIGITS = 12


class LabelCounts:
    """Classes one after the other, with a number of samples of each.

    Args:
        classes: the classes of the run.
        counts: pairs of a class (its name or number, in text `index:3`) and a number of samples.

    Attributes:
        total: the number of samples of all classes.

    Raises:
        UsageError: there is no such class, or a class has two counts.
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
        """The number of a sample's class. Raises UsageError for an index beyond the last class."""
        if index >= self.total:
            raise UsageError(f"sample {index} has no label, as labels count {self.total} samples: raise a count")
        return self._numbers[bisect.bisect_right(self._ends, index)]


def counted_label(text: str, classes: Sequence[str]) -> tuple[str, int | None]:
    """A class and the number of its samples, as in `cat=10`; None if there is no number.

    Text is first taken as a name: if a class is named `cat=10`, it is that class.

    Raises:
        UsageError: the number is not a whole number, or is 0.
    """
    label, equals, count = text.rpartition("=")
    if text in classes or not equals:
        return text, None
    if not (count.isascii() and count.isdecimal() and len(count) <= _DIGITS and int(count)):
        raise UsageError(
            f"label '{shown(text)}' is no class, and '{shown(count)}' is no number of samples of class "
            f"'{shown(label)}': write a whole number of at least 1, as in {shown(label)}=10"
        )
    return label, int(count)
