"""What a caller is ready to spend: a share of the codes, a number of them, time, or as much as each sample is worth."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from anytime_core.errors import UsageError

_HELP = "use a share such as 0.6 or 60%, a number of codes such as 42codes, a deadline such as 200ms, or adaptive"
DEFAULT_THRESHOLD = 0.5
"""Of `adaptive`: half of what a code brings on average."""
# Bounded in length, as exact arithmetic with a billion digits would never end.
_PATTERN = re.compile(
    r"\s*([+-]?(?:\d{1,40}\.?\d{0,40}|\.\d{1,40})(?:e[+-]?\d{1,3})?)\s*(%|codes?|ms|s)?\s*", re.IGNORECASE | re.ASCII
)

Unit = Literal["share", "codes", "seconds", "adaptive"]
_UNITS: dict[str, tuple[int, Unit]] = {
    "": (1, "share"),
    "%": (100, "share"),
    "code": (1, "codes"),
    "codes": (1, "codes"),
    "ms": (1000, "seconds"),
    "s": (1, "seconds"),
}


@dataclass(frozen=True)
class Budget:
    """How much of a sample to draw.

    Attributes:
        amount: positive; at most 1 for a share, a whole number for codes.
        unit: `share` of the codes, rounded up, at least one; a number of `codes`; `seconds` for the whole call; or
            `adaptive`: each sample ends where its next code is expected to bring less than `amount` times what a code
            brings on average (`anytime_core.sampling.adaptive`).
    """

    amount: float
    unit: Unit = "share"

    def __post_init__(self) -> None:
        _check(self.amount, self.unit, f"{self.amount:g}")

    @classmethod
    def parse(cls, value: float | str | Budget) -> Budget:
        """A budget from a share (0.6), a string (`0.6`, `60%`, `42codes`, `200ms`, `adaptive:0.5`), or itself.

        Raises:
            UsageError: naming the value and what was probably meant.
        """
        if isinstance(value, Budget):
            return value
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise UsageError(f"budget {value!r} is not understood: {_HELP}")
        if not isinstance(value, str):
            amount = _number(value)
            _check(amount, "share", str(value))
            return cls(amount)
        word, _, threshold = value.strip().lower().partition(":")
        if word == "adaptive":
            amount = _threshold(threshold, value)
            _check(amount, "adaptive", f"'{value}'")
            return cls(amount, "adaptive")
        match = _PATTERN.fullmatch(value)
        if match is None:
            raise UsageError(f"budget '{value}' is not understood: {_HELP}")
        shown, (divisor, unit) = (match[2] or "").lower(), _UNITS[(match[2] or "").lower()]
        # In exact fractions, so that 0.9% is the share 0.009.
        amount = _number(Fraction(match[1]) / divisor)
        if shown == "%" and amount > 1:
            raise UsageError(f"budget '{value}' is more than the whole: {_HELP}")
        _check(amount, unit, f"'{value}'")
        return cls(amount, unit)

    @property
    def seconds(self) -> float | None:
        """The deadline, None for other budgets."""
        return self.amount if self.unit == "seconds" else None

    @property
    def threshold(self) -> float | None:
        """Of an adaptive budget, None for others."""
        return self.amount if self.unit == "adaptive" else None

    def most_codes(self, code_length: int) -> int:
        """The most codes out of `code_length` that this budget may buy: all of them where it does not count codes.

        Raises:
            UsageError: more codes than there are.
        """
        if self.unit == "share":
            return codes_of_share(self.amount, code_length)
        if self.unit != "codes":
            return code_length
        if self.amount > code_length:
            raise UsageError(f"budget {self.amount:.15g}codes is more than the {code_length} codes there are")
        return int(self.amount)

    def codes(self, code_length: int) -> int:
        """The number of codes out of `code_length` that this budget buys.

        Raises:
            UsageError: more codes than there are, or a budget that is not a number of codes.
        """
        if self.unit in ("seconds", "adaptive"):
            raise UsageError(
                f"budget {self} has a meaning where codes are drawn only: use a share or a number of codes"
            )
        return self.most_codes(code_length)

    def __str__(self) -> str:
        if self.unit == "seconds":
            rounded = f"{self.amount * 1000:g}ms" if self.amount < 1 else f"{self.amount:g}s"
            return rounded if Budget.parse(rounded) == self else f"{float(self.amount)!r}s"
        if self.unit == "adaptive":
            rounded = f"adaptive:{self.amount:g}"
            return rounded if Budget.parse(rounded) == self else f"adaptive:{float(self.amount)!r}"
        return repr(float(self.amount)) if self.unit == "share" else f"{int(self.amount)}codes"


def codes_of_share(share: float, code_length: int) -> int:
    """Share of the codes, rounded up, at least one. 0.6 of 10 is 6, whatever binary fractions make of 0.6."""
    return max(1, math.ceil(Fraction(repr(float(share))) * code_length))


def _threshold(text: str, shown: str) -> float:
    """The number after `adaptive:`, the default where there is none."""
    try:
        if "_" in text:
            raise ValueError(text)
        return float(text) if text else DEFAULT_THRESHOLD
    except ValueError:
        raise UsageError(f"budget '{shown}' is not understood: use adaptive, or adaptive:0.5") from None


def _number(value: float | Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _check(amount: float, unit: str, shown: str) -> None:
    """Raise UsageError for an amount that no budget has; `shown` is how the caller wrote it."""
    if not math.isfinite(amount) or amount <= 0:
        raise UsageError(f"budget {shown} is not a positive number: {_HELP}")
    if unit == "codes" and amount != int(amount):
        raise UsageError(f"budget {shown} is not a whole number of codes: {_HELP}")
    if unit == "share" and amount > 1:
        whole = f"for {amount:g} codes write {amount:g}codes, " if amount == int(amount) else ""
        raise UsageError(f"budget {shown} is more than the whole: {whole}for a share of the codes write {amount:g}%")
