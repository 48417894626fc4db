"""What a caller is ready to spend: a share of the codes, a number of codes, time, or what each sample is worth."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral, Real
from typing import Literal, SupportsFloat

from anytime_core.errors import UsageError

DEFAULT_THRESHOLD = 0.5
"""The threshold of `adaptive`: half of what a code brings on average."""
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
_EXAMPLES: dict[Unit, str] = {
    "share": "a share such as 0.6 or 60%",
    "codes": "a number of codes such as {codes}codes",
    "seconds": "a deadline such as 200ms",
    "adaptive": "adaptive",
}


@dataclass(frozen=True)
class Spending:
    """Which budgets have a meaning in a call, so that messages suggest only these.

    Attributes:
        code_length: N; None if it is not known yet.
        units: the units that have a meaning.
    """

    code_length: int | None = None
    units: tuple[Unit, ...] = ("share", "codes", "seconds", "adaptive")

    @property
    def help(self) -> str:
        """An example of each unit."""
        codes = 42 if self.code_length is None else min(42, self.code_length)
        *first, last = [_EXAMPLES[unit].format(codes=codes) for unit in self.units]
        return f"use {', '.join(first)}, or {last}"

    def meant_by(self, amount: float) -> str:
        """What was probably meant by a number over 1 without a unit."""
        ways = []
        whole, most = amount == int(amount), self.code_length
        fits = whole and (most is None or amount <= most)
        if fits:
            ways.append(f"for {amount:.15g} codes write {amount:.15g}codes")
        elif most is not None and amount > most:
            ways.append(f"there are {most} codes, so write at most {most}codes")
        if amount <= 100:
            ways.append(f"for a share of the codes write {amount:.15g}%")
        if whole and not fits and "seconds" in self.units:
            ways.append(f"for a deadline write {amount:.15g}ms")
        return ", ".join(ways) or self.help


ANYWHERE = Spending()
SHARE_OR_CODES: tuple[Unit, ...] = ("share", "codes")
"""The units for calls that draw nothing: time, and what a sample is worth, have no meaning there."""


@dataclass(frozen=True)
class Limit:
    """What a budget comes to: a length, and a rule for stopping before it.

    Attributes:
        length: the most codes that a sample gets.
        threshold: a sample ends when its next code is expected to bring less than this many average codes; None: it
            does not end early.
        seconds: the time for the call as a whole; None: as long as it takes.
    """

    length: int
    threshold: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Budget:
    """How much of a sample to draw.

    Attributes:
        amount: positive; at most 1 for a share, a whole number for codes.
        unit: `share` of the codes, rounded up, at least one; a number of `codes`; `seconds` for the whole call; or
            `adaptive`: each sample ends when its next code is expected to bring less than `amount` times what a code
            brings on average (`anytime_core.sampling.adaptive`).
    """

    amount: float
    unit: Unit = "share"

    def __post_init__(self) -> None:
        _check(self.amount, self.unit, f"{self.amount:g}", ANYWHERE)

    @classmethod
    def parse(cls, value: float | str | Budget, spending: Spending = ANYWHERE) -> Budget:
        """A budget from a share, a whole number of codes, text, or itself.

        Text is `0.6`, `60%`, `42codes`, `200ms`, `1.5s`, `adaptive` or `adaptive:0.5`. In text, a number without a unit
        is a share, so `1` is all codes. The int 1 in Python could also mean one code, and is refused.

        >>> Budget.parse(0.6), Budget.parse(12), Budget.parse("200ms")
        (Budget(amount=0.6, unit='share'), Budget(amount=12, unit='codes'), Budget(amount=0.2, unit='seconds'))

        Args:
            value: see above.
            spending: which budgets have a meaning in the call; messages suggest these.

        Raises:
            UsageError: naming the value and what was probably meant.
        """
        if isinstance(value, Budget):
            return value
        if isinstance(value, bool) or not isinstance(value, Real | str):
            raise UsageError(f"budget {value!r} is not understood: {spending.help}")
        if isinstance(value, Integral):
            return cls._of_codes(int(value), spending)
        if not isinstance(value, str):
            amount = _number(value)
            _check(amount, "share", str(value), spending)
            return cls(amount)
        word, _, threshold = value.strip().lower().partition(":")
        if word == "adaptive":
            amount = _threshold(threshold, value, spending)
            _check(amount, "adaptive", f"'{value}'", spending)
            return cls(amount, "adaptive")
        match = _PATTERN.fullmatch(value)
        if match is None:
            raise UsageError(f"budget '{value}' is not understood: {spending.help}")
        shown, (divisor, unit) = (match[2] or "").lower(), _UNITS[(match[2] or "").lower()]
        # In exact fractions, so that 0.9% is the share 0.009.
        amount = _number(Fraction(match[1]) / divisor)
        if shown == "%" and amount > 1:
            raise UsageError(f"budget '{value}' is more than the whole: {spending.help}")
        _check(amount, unit, f"'{value}'", spending)
        return cls(amount, unit)

    @classmethod
    def _of_codes(cls, number: int, spending: Spending) -> Budget:
        if number == 1:
            raise UsageError("budget 1 can mean all codes or one of them: write 1.0 or '1codes'")
        amount = _number(number)
        _check(amount, "codes", f"{amount:.15g}", spending)
        return cls(number, "codes")

    @property
    def seconds(self) -> float | None:
        """The deadline, None for other budgets."""
        return self.amount if self.unit == "seconds" else None

    @property
    def threshold(self) -> float | None:
        """The threshold of an adaptive budget, None for other budgets."""
        return self.amount if self.unit == "adaptive" else None

    def most_codes(self, code_length: int) -> int:
        """The most codes out of `code_length` that this budget may buy: all of them if it does not count codes.

        Raises:
            UsageError: it asks for more codes than there are.
        """
        if self.unit == "share":
            return codes_of_share(self.amount, code_length)
        if self.unit != "codes":
            return code_length
        if self.amount > code_length:
            raise UsageError(
                f"budget {self.amount:.15g}codes is more than the {code_length} codes there are: write at most "
                f"{code_length}codes or 100%"
            )
        return int(self.amount)

    def limit(self, code_length: int) -> Limit:
        """What the budget comes to for `code_length` codes. Raises UsageError if it asks for more codes than that."""
        return Limit(self.most_codes(code_length), self.threshold, self.seconds)

    def codes(self, code_length: int) -> int:
        """The number of codes out of `code_length` that this budget buys.

        Raises:
            UsageError: it asks for more codes than there are, or it does not count codes.
        """
        if self.unit in ("seconds", "adaptive"):
            raise UsageError(
                f"budget {self} is for calls that draw whole samples: use a share or a number of codes here"
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


def _threshold(text: str, shown: str, spending: Spending) -> float:
    """The number after `adaptive:`, or the default if there is none."""
    try:
        if "_" in text:
            raise ValueError(text)
        return float(text) if text else DEFAULT_THRESHOLD
    except ValueError:
        help = "use adaptive, or adaptive:0.5" if "adaptive" in spending.units else spending.help
        raise UsageError(f"budget '{shown}' is not understood: {help}") from None


def _number(value: SupportsFloat) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _check(amount: float, unit: Unit, shown: str, spending: Spending) -> None:
    """Raise UsageError if no budget can have this amount; `shown` is the amount as the caller wrote it."""
    if not math.isfinite(amount) or amount <= 0:
        raise UsageError(f"budget {shown} is not a positive number: {spending.help}")
    if unit == "codes" and amount != int(amount):
        raise UsageError(f"budget {shown} is not a whole number of codes: {spending.help}")
    if unit == "share" and amount > 1:
        raise UsageError(f"budget {shown} is more than the whole: {spending.meant_by(amount)}")
