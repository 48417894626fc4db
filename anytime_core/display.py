"""How messages, tables and logs show things: names in a form that no terminal obeys, lists of names, and numbers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_SHOWN_AS_ESCAPES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories: control, format (such as bidirectional overrides), surrogates, unassigned, line separators."""

_PLURAL = re.compile(r"\b(\w+?)(?:(?<=ss)es|(?<!s)s)\b")
_SINGULAR = r"\1"
_LISTED = 12
"""The most names in one line."""


def shown(value: object) -> str:
    """`value` as one line of text that a terminal only shows: control characters become escapes.

    Anybody may name files, classes, runs and configs, also with sequences that set a window's title, change colours or
    reverse the direction of text. Backslashes stay, so that paths read as they were typed.
    """
    return "".join(
        character.encode("unicode_escape").decode()
        if unicodedata.category(character) in _SHOWN_AS_ESCAPES
        else character
        for character in str(value)
    )


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return f"{', '.join(names[:_LISTED])}{more}"


def counted(count: int, things: str) -> str:
    """A number of `things`, which are given in the plural, the noun first of its phrase: `1 file of a`, `20 codes`."""
    return f"{count:,} {things if count != 1 else _PLURAL.sub(_SINGULAR, things, count=1)}"
