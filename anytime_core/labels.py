"""Labels as callers write them: classes by name, by number, or in text by number as `index:3`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from anytime_core.arguments import Numbers, is_sequence
from anytime_core.display import listed, shown
from anytime_core.errors import UsageError, nearest
from anytime_core.quantities import whole_number
from anytime_core.spelling import argument

_NUMBERED = "index:"
"""The start of a label that is the number of a class."""

Label = int | str
Labels = Label | Numbers | Sequence[Label]
"""One for all samples, or one for each."""


@dataclass(frozen=True)
class ClassLabels:
    """The labels that can be given to the prior of a run.

    Attributes:
        names: names of the classes, by number.
        conditional: whether the prior takes labels.
        run: the run folder, for messages.
    """

    names: tuple[str, ...]
    conditional: bool
    run: Path

    def number(self, label: Label | None) -> int | None:
        """The number of a class, None if none is asked for.

        Text is first taken as a name: if classes are named 1 and 2, `2` is the class of that name, not of that number.

        Raises:
            UsageError: the prior is unconditional, or there is no such class.
        """
        return None if label is None else self._number(label)

    def numbers(self, label: Labels | None, batch: int) -> Tensor | None:
        """The class numbers of `batch` samples, [B] int64, None for an unconditional prior.

        Raises:
            UsageError: as in `number`; or a label is missing for a prior that needs one; or there is not one label for
                each sample.
        """
        labels: list[Any] = [label] * batch
        if is_sequence(label):
            labels = label.tolist() if isinstance(label, Tensor | np.ndarray) else list(label)
        if len(labels) != batch:
            raise UsageError(f"{len(labels)} labels are not one for each of {batch} samples")
        if label is None and not self.conditional:
            return None
        if label is None:
            raise UsageError(
                f"the prior of run {self.run} needs a label, such as {argument('label', 0)}: {self._known}"
            )
        return torch.tensor([self._number(one) for one in labels])

    def _number(self, label: Label) -> int:
        if not self.conditional:
            raise UsageError(f"label '{shown(label)}' has no meaning here: run {self.run} has an unconditional prior")
        most = len(self.names) - 1
        if not isinstance(label, str):
            return whole_number("label", label, f"in 0..{most}, or the name of a class: {self._known}", 0, most)
        if label in self.names:
            return self.names.index(label)
        number = _numbered(label)
        if number is None:
            raise UsageError(
                f"no class '{shown(label)}'{nearest(label, self.names)}: {self._known}, by number {_NUMBERED}0 to "
                f"{_NUMBERED}{most}"
            )
        if not 0 <= number <= most:
            raise UsageError(f"label {label} is not in 0..{most}: {self._known}")
        return number

    @property
    def _known(self) -> str:
        return f"the classes are {listed([shown(name) for name in self.names])}"


def _numbered(label: str) -> int | None:
    """The number in a label such as `index:3`; None for any other text."""
    number = label.removeprefix(_NUMBERED)
    return int(number) if number != label and number.isascii() and number.isdecimal() and len(number) < 10 else None
