"""Data that has moved: the values of a run's config that may be changed for a run that is not trained further."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from anytime_core.config_parsing import apply_overrides, parse_config
from anytime_core.discovery.plugins import load_modality
from anytime_core.display import shown
from anytime_core.errors import UsageError
from anytime_core.modality import Modality
from anytime_core.record import RunRecord


def location_keys(config: type[BaseModel]) -> list[str]:
    """The keys that say where a modality's data is: the paths in section `data`, and `data.download`."""
    section = config.model_fields.get("data")
    fields: dict[str, Any] = getattr(section.annotation, "model_fields", {}) if section is not None else {}
    return [f"data.{name}" for name, field in fields.items() if name == "download" or _is_path(field.annotation)]


def relocated(record: RunRecord, settings: Sequence[str]) -> Modality:
    """The modality of a run, with the place of its data from `settings`.

    Args:
        record: the record of the run.
        settings: `data.root=DIR` and the like, in the form of `--set`.

    Raises:
        UsageError: a setting is not about the place of the data.
    """
    modality = load_modality(record.modality)
    known = location_keys(modality.Config)
    for setting in settings:
        if setting.partition("=")[0].strip() not in known:
            way_out = f"use {', '.join(known)}" if known else f"modality '{record.modality}' has nothing to set"
            raise UsageError(f"--set '{shown(setting)}' does not say where the data of a trained run lies: {way_out}")
    config = parse_config(apply_overrides(record.config, settings, modality.Config), modality.Config)
    return modality(config.modality)


def _is_path(annotation: Any) -> bool:
    return annotation is Path or any(map(_is_path, typing.get_args(annotation)))
