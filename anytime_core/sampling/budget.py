"""What a caller is ready to spend: a share of the codes, or a number of codes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from anytime_core.errors import UsageError

_HELP = "use a share such as 0.6 or 60%, or a number of codes such as 42codes"
_PATTERN = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*(%|codes?|ms|s)?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Budget:
    """How much of a sample to draw.

    Attributes:
        amount: positive; at most 1 for a share, a whole number for codes.
        unit: `share` of the codes, rounded up, at least one; or a number of `codes`.
    """

    amount: float
    unit: Literal["share", "codes"] = "share"

    def __post_init__(self) -> None:
        shown = f"budget {self.amount:g}"
        if not math.isfinite(self.amount) or self.amount <= 0:
            raise UsageError(f"{shown} is not a positive number: {_HELP}")
        if self.unit == "share" and self.amount > 1:
            raise UsageError(f"{shown} is more than the whole: {_meant(self.amount)}")
        if self.unit == "codes" and self.amount != int(self.amount):
            raise UsageError(f"{shown} codes is not a whole number of codes: {_HELP}")

    @classmethod
    def parse(cls, value: float | str | Budget) -> Budget:
        """A budget from a share (0.6), a string (`0.6`, `60%`, `42codes`), or itself.

        Raises:
            UsageError: naming the value and what was probably meant.
        """
        if isinstance(value, Budget):
            return value
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise UsageError(f"budget {value!r} is not understood: {_HELP}")
        if not isinstance(value, str):
            return cls(float(value))
        match = _PATTERN.fullmatch(value)
        if match is None:
            raise UsageError(f"budget '{value}' is not understood: {_HELP}")
        number, unit = match[1], (match[2] or "").lower()
        if unit in ("ms", "s"):
            raise UsageError(f"budget '{value}' is a deadline, which this version does not know: {_HELP}")
        amount = float(number)
        if unit == "%":
            if amount > 100:
                raise UsageError(f"budget '{value}' is more than the whole: {_HELP}")
            return cls(amount / 100)
        return cls(amount, "codes" if unit else "share")

    def codes(self, code_length: int) -> int:
        """The number of codes out of `code_length` that this budget buys.

        Raises:
            UsageError: more codes than there are.
        """
        if self.unit == "share":
            return codes_of_share(self.amount, code_length)
        if self.amount > code_length:
            raise UsageError(f"budget {self.amount:g}codes is more than the {code_length} codes there are")
        return int(self.amount)

    def __str__(self) -> str:
        return f"{self.amount:g}" if self.unit == "share" else f"{int(self.amount)}codes"


def codes_of_share(share: float, code_length: int) -> int:
    """Share of the codes, rounded up, at least one. 0.6 of 10 is 6, whatever binary fractions make of 0.6."""
    return max(1, math.ceil(Fraction(repr(share)) * code_length))


def _meant(amount: float) -> str:
    if amount == int(amount):
        return f"for {int(amount)} codes write {int(amount)}codes, for a share of the codes write {amount:g}%"
    return f"for a share of the codes write a number up to 1, or {amount:g}%"
