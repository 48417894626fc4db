"""Configs from YAML and dotted overrides, with error messages that list every mistake."""

from __future__ import annotations

import json
import types
import typing
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from anytime_core.config import Config, CoreConfig
from anytime_core.errors import ConfigError, nearest
from anytime_core.files import YAML_LIMIT, read_limited

_MOST_NODES, _DEEPEST = 10_000, 50
_LONGEST_VALUE = 2048
_MOST_KEYS = 20
_MOST_MISTAKES = 50
_SHOWN = 200
# PyYAML lets all of these through for values that do not fit to their tags.
_YAML_ERRORS = (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises ConfigError where it is missing or anything else."""
    try:
        text = read_limited(path, YAML_LIMIT).decode("utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot read config {path}: {_reason(error)}; give a YAML file or a recipe, see anytime recipes list"
        ) from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> dict[str, Any]:
    """The mapping in YAML `text`, which errors call `name`."""
    try:
        data = _load_yaml(text)
    except _YAML_ERRORS as error:
        problem = _shortened(" ".join(str(error).split()))
        raise ConfigError(f"{name} is not valid YAML: {problem}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{name} is not a config: expected 'key: value' lines, found {type(data).__name__}")
    if wrong := [key for key in data if not isinstance(key, str)]:
        raise ConfigError(f"{name} is not a config: its key {_shortened(repr(wrong[0]))} is not a name")
    return data


def apply_overrides(
    data: Mapping[str, Any], overrides: Sequence[str], modality_config: type[BaseModel] | None = None
) -> dict[str, Any]:
    """`data` with `a.b=value` overrides applied, values in YAML.

    Where sections come in kinds, such as the quantizer, changing the `kind` drops the section's other values, which
    belonged to the old one.

    Args:
        data: the layout of a YAML config.
        overrides: in order.
        modality_config: the plugin's `Config`, which says which of its sections come in kinds.

    Raises:
        ConfigError: an override without `=`, with invalid YAML, or below a key that is no section.
    """
    result = _copy(data)
    for override in overrides:
        key, equals, text = override.partition("=")
        keys, shown = key.strip().split("."), _shortened(repr(override))
        if not equals or not all(keys) or len(keys) > _MOST_KEYS:
            raise ConfigError(f"--set {shown} is not of the form key.subkey=value")
        try:
            value = _load_yaml(text)
        except _YAML_ERRORS as error:
            raise ConfigError(f"--set {shown}: {_shortened(repr(text))} is not valid YAML") from error
        section = result
        for name in keys[:-1]:
            if section.get(name) is None:
                section[name] = {}
            section = section[name]
            if not isinstance(section, dict):
                raise ConfigError(f"--set {shown}: '{_shortened(name)}' is a value, not a section")
        default_kind = _default_kind(keys[:-1], modality_config) if keys[-1] == "kind" else None
        if default_kind is not None and section.get("kind", default_kind) != value:
            section.clear()
        section[keys[-1]] = value
    return result


def parse_config(data: Mapping[str, Any], modality_config: type[BaseModel]) -> Config:
    """Check `data` against core's sections and the modality's.

    Args:
        data: the layout of a YAML config.
        modality_config: the plugin's `Config`; its fields share the top level with core's.

    Raises:
        ConfigError: naming every mistake at once, each with the offending value.
    """
    core_data = {key: value for key, value in data.items() if key not in modality_config.model_fields}
    modality_data = {key: value for key, value in data.items() if key in modality_config.model_fields}
    mistakes: list[str] = []
    parsed: list[Any] = []
    known = [*field_names(CoreConfig), *field_names(modality_config)]
    for model, values in ((CoreConfig, core_data), (modality_config, modality_data)):
        try:
            parsed.append(model.model_validate(values))
        except ValidationError as error:
            # Of a list whose items are wrong, pydantic also says that it is too short.
            details = [
                detail
                for detail in error.errors()
                if detail["type"] != "too_short" or len(detail["input"]) < detail["ctx"]["min_length"]
            ]
            mistakes += [_describe(detail, known) for detail in details[:_MOST_MISTAKES]]
            if len(details) > _MOST_MISTAKES:
                mistakes.append(f"and {len(details) - _MOST_MISTAKES} more mistakes")
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return Config(*parsed)


def _default_kind(keys: Sequence[str], modality_config: type[BaseModel] | None) -> str | None:
    """The default kind of the section at `keys` that is a union of kinds, None for any other key."""
    owned = modality_config is not None and bool(keys) and keys[0] in modality_config.model_fields
    annotation: Any = modality_config if owned else CoreConfig
    for key in keys:
        section = next(_sections(annotation), None)
        if section is None or key not in section.model_fields:
            return None
        annotation = section.model_fields[key].annotation
    kinds = [
        section.model_fields["kind"].default for section in _sections(annotation) if "kind" in section.model_fields
    ]
    return kinds[0] if len(kinds) > 1 else None


def field_names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every dotted key that `model` knows, sections included, all members of a union."""
    for name, field in model.model_fields.items():
        yield prefix + name
        for section in _sections(field.annotation):
            yield from field_names(section, f"{prefix}{name}.")


def described_fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Dotted key, default and description of every value that `model` knows, all members of a union."""
    for name, field in model.model_fields.items():
        sections = list(_sections(field.annotation))
        for section in sections:
            yield from described_fields(section, f"{prefix}{name}.")
        if not sections:
            default = json.dumps(TypeAdapter(Any).dump_python(field.get_default(), mode="json"))
            yield prefix + name, default, field.description or ""


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif typing.get_origin(annotation) in (Annotated, typing.Union, types.UnionType):
        for argument in typing.get_args(annotation):
            yield from _sections(argument)


class _LimitedLoader(yaml.SafeLoader):
    """PyYAML's safe loader, for text that may be somebody else's: it ends where a config would be absurd.

    A few lines of aliases of aliases stand for billions of values; each counts as often as it is used.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.nodes = self._depth = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if id(node) not in self._sizes:
                raise yaml.YAMLError("an alias stands inside of what it is an alias of")
            self._count(self._sizes[id(node)])
            return node
        before = self.nodes
        self._count(1)
        self._depth += 1
        if self._depth > _DEEPEST:
            raise yaml.YAMLError(f"more than {_DEEPEST} values inside of each other")
        node = super().compose_node(parent, index)
        self._depth -= 1
        self._sizes[id(node)] = self.nodes - before
        if isinstance(node, yaml.ScalarNode) and len(node.value) > _LONGEST_VALUE:
            raise yaml.YAMLError(f"a value of {len(node.value)} characters")
        return node

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, number in keys.items():
            if number > 1:
                raise yaml.YAMLError(f"key '{_shortened(key)}' stands there {number} times")
        return node

    def _count(self, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > _MOST_NODES:
            raise yaml.YAMLError(f"more than {_MOST_NODES} values")


def _load_yaml(text: str) -> Any:
    loader = _LimitedLoader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _describe(detail: Any, known: list[str]) -> str:
    """One line for one pydantic error: the dotted key, what is wrong, the value, and the nearest key."""
    key = _key(detail["loc"], known, unknown=detail["type"] == "extra_forbidden")
    message = detail["msg"].removeprefix("Value error, ")
    value = detail["input"]
    if detail["type"] == "extra_forbidden":
        others = [name for name in known if name != key]
        return f"unknown key '{_shortened(key)}'" + (" for this kind" if key in known else nearest(key, others))
    if detail["type"] == "union_tag_invalid":
        return f"{key}.kind: input should be {detail['ctx']['expected_tags']}, found {detail['ctx']['tag']!r}"
    if detail["type"] == "model_type":
        message = "a section has keys below it"
    if not key or (detail["type"] == "value_error" and isinstance(value, Mapping | BaseModel)):
        return message  # a rule over several keys, whose message names them
    shown = "" if isinstance(value, Mapping | BaseModel) else f", found {_shortened(repr(value))}"
    return f"{key}: {message[0].lower()}{message[1:]}{shown}"


def _key(location: Sequence[int | str], known: list[str], *, unknown: bool) -> str:
    """The dotted key of a pydantic location without the chosen kinds of unions; its end may be an `unknown` key."""
    key = ""
    for position, part in enumerate(location):
        longer = f"{key}.{part}" if key else str(part)
        if longer in known or isinstance(part, int) or (unknown and position == len(location) - 1):
            key = longer
    return key


def _copy(data: Any) -> Any:
    return {key: _copy(value) for key, value in data.items()} if isinstance(data, Mapping) else data


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
