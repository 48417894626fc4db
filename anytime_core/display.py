"""What messages, tables and logs say of things: names of others, never obeyed by a terminal, and numbers of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_SHOWN_AS_ESCAPES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories: control, format (such as bidirectional overrides), surrogates, unassigned, line separators."""

_PLURAL = re.compile(r"\b(\w+?)(?:(?<=ss)es|(?<!s)s)\b")
_SINGULAR = r"\1"
_LISTED = 12
"""Names that one line has at most."""


def shown(value: object) -> str:
    """`value` as text of one line that a terminal can only show: what would control it stands as an escape.

    Files, classes, runs and configs may be named by anybody, with sequences that set a window's title, colour what
    follows or turn its direction round. Backslashes stay as they are, so that paths read as they were typed.
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
    """How many there are of `things`, which are named in the plural, their noun first: `1 hidden file`, `20 codes`."""
    return f"{count:,} {things if count != 1 else _PLURAL.sub(_SINGULAR, things, count=1)}"
