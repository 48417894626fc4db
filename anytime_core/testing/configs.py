"""What every contract demands of config sections."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel

from anytime_core.config_fields import sections_in


def check_fields(config: type[BaseModel]) -> None:
    """Raise AssertionError unless every field has a default and a description."""
    for key, field in _fields(config):
        assert not field.is_required(), f"config field {key} has no default"
        assert (field.description or "").strip(), f"config field {key} has no description"


def check_round_trip(config: type[BaseModel], values: Mapping[str, Any]) -> None:
    """Raise AssertionError unless `values` survive JSON and YAML unchanged, and unknown keys are refused."""
    made = config.model_validate(values)
    dumped = made.model_dump(mode="json")
    for language, again in (("JSON", json.loads(json.dumps(dumped))), ("YAML", yaml.safe_load(yaml.safe_dump(dumped)))):
        assert config.model_validate(again) == made, f"the config is different after {language}"
    try:
        config.model_validate({**dumped, "no_such_section": 1})
    except ValueError:
        return
    raise AssertionError("Config accepts keys that it does not know: derive it from anytime_core.config.Section")


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every field with its dotted key, including the fields of sections within it."""
    for name, field in model.model_fields.items():
        yield prefix + name, field
        for section in sections_in(field.annotation):
            yield from _fields(section, f"{prefix}{name}.")
