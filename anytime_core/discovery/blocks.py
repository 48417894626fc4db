"""The blocks of a config that are no sections: `quick` and `priors` hold values for its variants.

Each has the layout of a config and holds only what differs. If it names the `kind` of a section, it replaces the whole
section.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from anytime_core.display import shown
from anytime_core.errors import ConfigError

QUICK = "quick"
"""The key of the quick variant, at the top level of a config."""

PRIORS = "priors"
"""The key of the values for other kinds of priors, at the top level of a config and below `quick`."""


def without_blocks(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a config without its blocks."""
    return {key: value for key, value in values.items() if key not in (QUICK, PRIORS)}


def as_block(value: Any, key: str, name: str) -> Mapping[str, Any]:
    """The block `key` of the config that messages call `name`; empty for None. Raises ConfigError if it is a value."""
    if value is not None and not isinstance(value, Mapping):
        raise ConfigError(f"{shown(name)}: {key}: a section has keys below it, found {shown(repr(value))[:80]}")
    return value or {}


@contextmanager
def mistakes_below(key: str, place: str) -> Iterator[None]:
    """Within the block, each line of a ConfigError gets the key and the place of the block that it is about."""
    try:
        yield
    except ConfigError as error:
        lines = str(error).splitlines()
        raise ConfigError("\n".join(f"below {key}: in {place}: {line}" for line in lines)) from error


def laid_over(values: Mapping[str, Any], block: Mapping[str, Any]) -> dict[str, Any]:
    """`values`, changed by a block."""
    result = dict(values)
    for key, value in block.items():
        before = result.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping) and "kind" not in value:
            result[key] = laid_over(before, value)
        else:
            result[key] = value
    return result
