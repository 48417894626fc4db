"""What differs between two configs, by dotted keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flattened(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value, of every value that is not a section."""
    values: dict[str, Any] = {}
    for name, value in config.items():
        values |= flattened(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return values


def changed_values(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted key -> value in `after`, of every value that is not in `before` or is different there."""
    known = flattened(before)
    return {key: value for key, value in flattened(after).items() if key not in known or known[key] != value}


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys and values in the layout of a config."""
    config: dict[str, Any] = {}
    for key, value in values.items():
        *sections, name = key.split(".")
        section = config
        for part in sections:
            section = section.setdefault(part, {})
        section[name] = value
    return config
