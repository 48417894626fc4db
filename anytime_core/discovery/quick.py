"""The quick variant of a config: its block `quick` changes values, for a training of minutes instead of hours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anytime_core.discovery.blocks import QUICK, as_block, laid_over, without_blocks
from anytime_core.display import shown
from anytime_core.errors import UsageError
from anytime_core.spelling import settings


def quick_variant(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The values of a config, changed by its block `quick`, without blocks.

    Args:
        data: the config, in the layout of YAML.
        name: name of the recipe or file, for messages.

    Raises:
        UsageError: there is no such block.
        ConfigError: `quick` is not a section.
    """
    if not (block := as_block(data.get(QUICK), QUICK, name)):
        raise UsageError(
            f"{shown(name)} has no quick variant: add one below {QUICK}: in the config, or set fewer steps with "
            f"{settings({'training.autoencoder.steps': 300, 'training.prior.steps': 300})}"
        )
    return laid_over(without_blocks(data), without_blocks(block))


def has_quick(data: Mapping[str, Any], name: str) -> bool:
    """Whether a config has a quick variant. Raises ConfigError if `quick` is no section."""
    return bool(as_block(data.get(QUICK), QUICK, name))
