"""The priors that are compared, and the ways to draw from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

CONTENDERS: dict[str, tuple[str, ...]] = {
    "transformer": ("prior.kind=transformer",),
    "strided": ("prior.kind=transformer", "prior.attention=strided"),
    **{kind: (f"prior.kind={kind}",) for kind in ("made", "nade", "wavenet", "bytenet", "gru", "ardm")},
}
"""Name -> what makes it of a recipe."""

_ANY_ORDER = "ardm"


@dataclass(frozen=True)
class Way:
    """A way to draw from a contender.

    Attributes:
        contender: its name.
        calls: the most network calls for a sample; None: one for each code.
    """

    contender: str
    calls: int | None = None

    @property
    def name(self) -> str:
        """For tables and curves."""
        return self.contender if self.calls is None else f"{self.contender}, {self.calls} calls"


def ways(contenders: Sequence[str], calls: Sequence[int | None]) -> list[Way]:
    """All ways to draw: by several numbers of calls where codes may come in any order."""
    return [Way(name, limit) for name in contenders for limit in (calls if name == _ANY_ORDER else (None,))]
