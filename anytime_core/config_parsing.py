"""Configs from YAML and dotted overrides, with error messages that list every mistake."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from anytime_core.config import Config, CoreConfig
from anytime_core.config_fields import Kinds, annotations_at, field_names, takes, types_in
from anytime_core.data.locations import lasting_path
from anytime_core.data.reading import YAML_LIMIT, decoded, read_limited
from anytime_core.errors import ConfigError, UsageError, nearest, system_reason
from anytime_core.spelling import named_override
from anytime_core.yaml_values import LONGEST_VALUE, YAML_ERRORS, WrittenFloat, WrittenInt, load_yaml, shortened

Override = str | tuple[str, Any]
"""A change of a config: `a.b=value` as it is typed, or a dotted key and its value."""

_MOST_KEYS = 20
_MOST_MISTAKES = 50


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises ConfigError if the file is missing or holds anything else."""
    try:
        text = decoded(read_limited(path, YAML_LIMIT))
    except (OSError, ValueError) as error:
        reason = system_reason(error) if isinstance(error, OSError) else error
        raise ConfigError(
            f"cannot read config {path}: {reason}; give a YAML file or a recipe, see anytime recipes list"
        ) from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> dict[str, Any]:
    """The mapping in YAML `text`, which errors call `name`."""
    try:
        data = load_yaml(text)
    except YAML_ERRORS as error:
        problem = shortened(" ".join(str(error).split()))
        raise ConfigError(f"{name} is not valid YAML: {problem}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{name} is not a config: expected 'key: value' lines, found {type(data).__name__}")
    if wrong := [key for key in data if not isinstance(key, str)]:
        raise ConfigError(f"{name} is not a config: the key {shortened(repr(wrong[0]))} is not a name")
    return data


def apply_overrides(
    data: Mapping[str, Any], overrides: Sequence[Override], modality_config: type[BaseModel] | None = None
) -> dict[str, Any]:
    """`data` with overrides applied.

    A typed value is YAML, but names and paths are taken as they are written, as in a shell: `data.root=my pics #2`.
    Quotes around them are removed, and `null` or nothing means no path.

    If a section has kinds, such as the prior, changing the `kind` drops the section's values that belonged to the old
    kind. Those that a common base of both kinds declares stay. So kinds are changed first, wherever they stand among
    the overrides, and of several kinds for a section only the last counts. A mapping for such a section sets the values
    that it has, one by one.

    Args:
        data: the layout of a YAML config.
        overrides: in order.
        modality_config: the plugin's `Config`, which says which of its values are paths and which sections have kinds.

    Raises:
        ConfigError: an override has no `=`, has invalid YAML, or is below a value that is not a section.
    """
    result = _copy(data)
    changes = [change for override in overrides for change in _single(override, modality_config)]
    kinds_first = {key: change for change in changes if (key := overridden_key(change)).endswith(".kind")}
    others = [change for change in changes if overridden_key(change) not in kinds_first]
    for override in [*kinds_first.values(), *others]:
        keys, shown = overridden_key(override).split("."), _named(override)
        model = _model_of(keys[0], modality_config)
        value = _overriding_value(override, annotations_at(keys, model), shown)
        section = result
        for name in keys[:-1]:
            if section.get(name) is None:
                section[name] = {}
            section = section[name]
            if not isinstance(section, dict):
                raise ConfigError(f"{shown}: '{shortened(name)}' is a value, not a section")
        if keys[-1] == "kind" and (kinds := Kinds(keys[:-1], model)):
            before = section.get("kind", kinds.default)
            for name in section.keys() - kinds.shared(before, value) if before != value else ():
                del section[name]
        section[keys[-1]] = value
    return result


def _single(override: Override, modality_config: type[BaseModel] | None) -> list[Override]:
    """An override as changes of single values, if it is a mapping for a section with kinds; else as it is.

    Raises ConfigError if it has not the form of an override, or has invalid YAML.
    """
    key, shown = overridden_key(override), _named(override)
    keys = key.split(".")
    if (isinstance(override, str) and "=" not in override) or not all(keys) or len(keys) > _MOST_KEYS:
        raise ConfigError(f"{shown} is not of the form key.subkey=value")
    model = _model_of(keys[0], modality_config)
    if keys[-1] == "kind" or not Kinds(keys, model):
        return [override]
    value = _overriding_value(override, annotations_at(keys, model), shown)
    return [(f"{key}.{name}", inner) for name, inner in value.items()] if isinstance(value, Mapping) else [override]


def _named(override: Override) -> str:
    """An override in a message."""
    return named_override(shortened(repr(override if isinstance(override, str) else dict([override]))))


def overridden_key(override: Override) -> str:
    """The dotted key that an override changes."""
    return (override.partition("=")[0] if isinstance(override, str) else str(override[0])).strip()


def _overriding_value(override: Override, annotations: Sequence[Any], shown: str) -> Any:
    """The new value. Raises ConfigError, which calls the override `shown`, if it is invalid YAML."""
    if not isinstance(override, str):
        return _copy(override[1])
    text = override.partition("=")[2]
    try:
        return _as_written(text, annotations)
    except YAML_ERRORS as error:
        raise ConfigError(f"{shown}: {shortened(repr(text))} is not valid YAML") from error


def modality_name(data: Mapping[str, Any], overrides: Sequence[Override] = ()) -> str:
    """The modality that a config names; its `Config` says how to read the other values. Raises ConfigError."""
    chosen = [override for override in overrides if overridden_key(override) == "modality"]
    return str(apply_overrides(data, chosen).get("modality", CoreConfig().modality))


def parse_config(data: Mapping[str, Any], modality_config: type[BaseModel]) -> Config:
    """Check `data` against core's sections and the modality's.

    Relative paths become absolute, because the config may be read again from another folder, and `~` is expanded.

    Args:
        data: the layout of a YAML config.
        modality_config: the plugin's `Config`; its fields share the top level with core's.

    Raises:
        ConfigError: `data` has mistakes; the message names all of them, each with the offending value.
    """
    core_data = {key: value for key, value in data.items() if key not in modality_config.model_fields}
    modality_data = {key: value for key, value in data.items() if key in modality_config.model_fields}
    mistakes: list[str] = []
    parsed: list[Any] = []
    known = [*field_names(CoreConfig), *field_names(modality_config)]
    for model, values in ((CoreConfig, core_data), (modality_config, modality_data)):
        try:
            parsed.append(model.model_validate(_fitted(values, "", [model], mistakes)))
        except ValidationError as error:
            # If the items of a list are wrong, pydantic also says that the list is too short.
            details = [
                detail
                for detail in error.errors()
                if detail["type"] != "too_short" or len(detail["input"]) < detail["ctx"]["min_length"]
            ]
            mistakes += [_describe(detail, known, model, values) for detail in details[:_MOST_MISTAKES]]
            if len(details) > _MOST_MISTAKES:
                mistakes.append(f"and {len(details) - _MOST_MISTAKES} more mistakes")
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return Config(*parsed)


def _model_of(name: str, modality_config: type[BaseModel] | None) -> type[BaseModel]:
    """The model that has the section `name`: the modality's or core's."""
    return modality_config if modality_config is not None and name in modality_config.model_fields else CoreConfig


def _as_written(text: str, annotations: Sequence[Any]) -> Any:
    """The value that the `text` of an override stands for. Raises one of `YAML_ERRORS`."""
    members = types_in(annotations)
    path = takes(PurePath, members)
    if not path and not (takes(str, members) and not takes((int, float), members)):
        return load_yaml(text)
    inner = text.strip()
    if inner in ("", "null") and type(None) in members:
        return None
    if len(text) > LONGEST_VALUE:
        raise ValueError(f"a value of {len(text)} characters")
    if len(inner) > 1 and inner[0] == inner[-1] and inner[0] in "'\"":
        return inner[1:-1]
    return text if path else inner


def _fitted(value: Any, key: str, annotations: Sequence[Any], mistakes: list[str]) -> Any:
    """`value` as fields of the types `annotations` take it: names as they were written, paths absolute.

    Args:
        value: anything from YAML.
        key: its dotted key, for messages.
        annotations: the types that it may have; empty if they are unknown.
        mistakes: a mistake that no type would find is added to these.
    """
    members = types_in(annotations)
    if isinstance(value, Mapping):
        others = [one for member in members if typing.get_origin(member) is dict for one in typing.get_args(member)[1:]]
        fields: dict[Any, list[Any]] = {}
        for section in members:
            for name, field in section.model_fields.items() if takes(BaseModel, [section]) else ():
                fields.setdefault(name, []).append(field.annotation)
        below = f"{key}." if key else ""
        return {
            name: _fitted(inner, f"{below}{name}", fields.get(name, others), mistakes) for name, inner in value.items()
        }
    if isinstance(value, list | tuple):
        items = [argument for member in members for argument in typing.get_args(member)]
        return [_fitted(inner, f"{key}.{index}", items, mistakes) for index, inner in enumerate(value)]
    text = getattr(value, "text", value)
    literals = [literal for member in members if typing.get_origin(member) is Literal for literal in member.__args__]
    if takes(PurePath, members) and isinstance(text, str | PurePath):
        try:
            return str(lasting_path(text))
        except UsageError as error:
            mistakes.append(f"{key}: {error}")
            return value
    if isinstance(value, bool) and takes((int, float), members) and not takes(bool, members) and True not in literals:
        return str(value).lower()  # Python takes true for the number 1
    if not isinstance(value, WrittenInt | WrittenFloat):
        truth = {"yes": True, "on": True, "no": False, "off": False}.get(str(value).lower())
        return truth if truth is not None and any(literal is truth for literal in literals) else value
    if text in literals or (takes(str, members) and not takes((int, float), members)):
        return text
    return int(value) if isinstance(value, WrittenInt) else float(value)


def _describe(detail: Any, known: list[str], model: type[BaseModel], values: Mapping[str, Any]) -> str:
    """One line for one pydantic error: the dotted key, what is wrong, the value, and the way out.

    Args:
        detail: the error.
        known: all keys.
        model: what was parsed.
        values: from these values.
    """
    key = _key(detail["loc"], known, unknown=detail["type"] == "extra_forbidden")
    message = detail["msg"].removeprefix("Value error, ").replace("True or False", "true or false")
    value = detail["input"]
    if detail["type"] == "extra_forbidden":
        return f"unknown key '{shortened(key)}'" + (
            _kind_without(key, model, values) if key in known else nearest(key, known)
        )
    if detail["type"] == "union_tag_invalid":
        return f"{key}.kind: input should be {detail['ctx']['expected_tags']}, found {detail['ctx']['tag']!r}"
    if detail["type"] == "no_name":
        return f"{key}.{message}"
    if detail["type"] == "unknown_kind":
        return f"{key}: {message}"  # which names the value
    if detail["type"] == "model_type":
        message = "a section has keys below it"
    if not key or (detail["type"] == "value_error" and isinstance(value, Mapping | BaseModel)):
        return message  # a rule on several keys, whose message names them
    shown = "" if isinstance(value, Mapping | BaseModel) else f", found {shortened(repr(value))}"
    return f"{key}: {message[0].lower()}{message[1:]}{shown}"


def _kind_without(key: str, model: type[BaseModel], values: Mapping[str, Any]) -> str:
    """The kind of the section around a key that only other kinds have, and the keys that this kind has."""
    *section, _ = key.split(".")
    kinds, held = Kinds(section, model), values
    for name in section:
        held = held[name]
    kind = held.get("kind", kinds.default if kinds else None)
    return f" for kind '{shortened(str(kind))}', which has {', '.join(kinds.names(kind)) or 'no other values'}"


def _key(location: Sequence[int | str], known: list[str], *, unknown: bool) -> str:
    """The dotted key of a pydantic location, without the kinds of sections. Its last part may be an `unknown` key."""
    key = ""
    for position, part in enumerate(location):
        longer = f"{key}.{part}" if key else str(part)
        if longer in known or isinstance(part, int) or (unknown and position == len(location) - 1):
            key = longer
    return key


def _copy(data: Any) -> Any:
    return {key: _copy(value) for key, value in data.items()} if isinstance(data, Mapping) else data
