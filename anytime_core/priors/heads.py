"""What a prior's numbers say of a code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class NoiseNeed:
    """The noise that drawing one code takes.

    Attributes:
        kind: distribution of the numbers.
        numbers: how many of them, G.
    """

    kind: Literal["gumbel", "uniform", "normal"]
    numbers: int
