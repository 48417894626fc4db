"""Sections of a config: typed, checked, and chosen by their `kind` if there are several kinds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Discriminator

MOST_CODES = 2**24
"""The largest codebook, and the longest code."""


class Section(BaseModel):
    """Base of every config section. Unknown keys are mistakes, and values cannot change after parsing."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def by_kind(default: str) -> Discriminator:
    """Choose the type of a section in a union by its `kind`; `default` if it is left out."""

    def kind(value: Any) -> str:
        return str(value.get("kind", default) if isinstance(value, Mapping) else getattr(value, "kind", default))

    return Discriminator(kind)


def shared_fields(section: type[BaseModel], other: type[BaseModel]) -> frozenset[str]:
    """The names of the fields that a common base of two sections declares; without `kind`."""
    bases = [base for base in section.__mro__ if issubclass(base, Section) and issubclass(other, base)]
    return frozenset(name for base in bases for name in base.model_fields) - {"kind"}
