"""The quick variant of a config: what its block `quick` changes, for a look of minutes where the whole takes hours.

The block has the layout of a config and says only what differs. Where it names the `kind` of a section, it stands for
all of that section.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anytime_core.display import shown
from anytime_core.errors import ConfigError, UsageError
from anytime_core.spelling import settings

BLOCK = "quick"
"""Its key at the top level of a config."""


def without_quick(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The values of a config without those of its quick variant. Raises ConfigError if `quick` is no section."""
    _ = _block(data, name)
    return {key: value for key, value in data.items() if key != BLOCK}


def quick_variant(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The values of a config with those of its block `quick` in place of its own.

    Args:
        data: the layout of a YAML config.
        name: of the recipe or file, for messages.

    Raises:
        UsageError: there is no such block.
        ConfigError: `quick` is no section.
    """
    if not (block := _block(data, name)):
        raise UsageError(
            f"{shown(name)} has no quick variant: say what it changes below {BLOCK}: in the config, or set fewer steps "
            f"with {settings({'training.autoencoder.steps': 300, 'training.prior.steps': 300})}"
        )
    return _laid_over(without_quick(data, name), block)


def has_quick(data: Mapping[str, Any], name: str) -> bool:
    """Whether a config has a quick variant. Raises ConfigError if `quick` is no section."""
    return bool(_block(data, name))


def _block(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    block = data.get(BLOCK)
    if block is not None and not isinstance(block, Mapping):
        raise ConfigError(f"{shown(name)}: {BLOCK}: a section has keys below it, found {shown(repr(block))[:80]}")
    return block or {}


def _laid_over(values: Mapping[str, Any], block: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(values)
    for key, value in block.items():
        before = result.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping) and "kind" not in value:
            result[key] = _laid_over(before, value)
        else:
            result[key] = value
    return result
