"""Single numbers of any numeric type that callers pass, checked before they are used."""

from __future__ import annotations

import operator
from collections.abc import Callable
from contextlib import suppress

from anytime_core.display import shown
from anytime_core.errors import UsageError


def whole_number(what: str, value: object, wanted: str, least: int, most: int | None = None) -> int:
    """`value`, of any integer type, as an int.

    Args:
        what: its name in the message.
        value: the value to check.
        wanted: the range, in the message.
        least, most: the range.

    Raises:
        UsageError: it is not a whole number, or out of range.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        raise UsageError(f"{what} {shown_value(value)} is not a whole number {wanted}")
    return number


def real_number(what: str, value: object, wanted: str, accepts: Callable[[float], bool]) -> float:
    """`value`, of any numeric type, as a float.

    Args:
        what: its name in the message.
        value: the value to check.
        wanted: the range, in the message.
        accepts: whether a number is in the range.

    Raises:
        UsageError: it is not a number, or out of range.
    """
    number = None
    if not isinstance(value, bool | str | bytes):
        with suppress(TypeError, ValueError, OverflowError, RuntimeError):
            number = float(value)  # type: ignore[arg-type]
    if number is None or not accepts(number):
        raise UsageError(f"{what} {shown_value(value)} is not {wanted}")
    return number


def shown_value(value: object) -> str:
    """A value in a message: a number as it is, text in quotes, the shape or type of anything larger."""
    shape = getattr(value, "shape", ())
    if len(shape):
        return f"of shape [{', '.join(map(str, shape))}]"
    if isinstance(value, str):
        return f"'{shown(value)}'"
    text = shown(value.item() if hasattr(value, "item") else repr(value))
    return text if len(text) <= 60 else f"of type {type(value).__name__}"
