"""What a config may hold: the fields of its sections and, for sections with kinds, what kinds have in common."""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter

from anytime_core.priors.registry import PRIORS
from anytime_core.quantizers.registry import QUANTIZERS
from anytime_core.registry import Registry
from anytime_core.section import shared_fields
from anytime_core.value_networks import NETWORKS

_REGISTRIES: dict[Any, Registry[Any]] = {registry.section: registry for registry in (QUANTIZERS, PRIORS, NETWORKS)}
"""Base of the sections of a registry's kinds -> the registry."""


def field_names(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every dotted key that `model` knows, with those of sections and of all kinds of a section."""
    for name, field in model.model_fields.items():
        yield prefix + name
        for section in sections_in(field.annotation):
            yield from field_names(section, f"{prefix}{name}.")


def described_fields(
    model: type[BaseModel], prefix: str = "", chosen: Mapping[str, Any] | None = None
) -> Iterator[tuple[str, str, str]]:
    """The dotted key, default and description of every value that `model` knows.

    Args:
        model: of a section.
        prefix: of its keys.
        chosen: dotted key -> value, of which those of a `kind` say which kind of a section is meant; a section whose
            kind they do not say is described with all its kinds.
    """
    for name, field in model.model_fields.items():
        kind = (chosen or {}).get(f"{prefix}{name}.kind")
        sections = [
            section
            for section in sections_in(field.annotation)
            if kind is None or "kind" not in section.model_fields or section.model_fields["kind"].default == kind
        ]
        for section in sections:
            yield from described_fields(section, f"{prefix}{name}.", chosen)
        if not sections:
            default = json.dumps(TypeAdapter(Any).dump_python(field.get_default(), mode="json"))
            yield prefix + name, default, field.description or ""


def annotations_at(keys: Sequence[str], model: type[BaseModel]) -> list[Any]:
    """The types of the value at `keys` in `model`, in all kinds of the sections around it; empty: no such key."""
    annotations: list[Any] = [model]
    for key in keys:
        sections = [section for annotation in annotations for section in sections_in(annotation)]
        annotations = [section.model_fields[key].annotation for section in sections if key in section.model_fields]
    return annotations


class Kinds:
    """The kinds of the section at `keys` in `model`. It is false if that section has no kinds, or is no section."""

    def __init__(self, keys: Sequence[str], model: type[BaseModel]) -> None:
        sections = [section for annotation in annotations_at(keys, model) for section in sections_in(annotation)]
        self._sections = {
            section.model_fields["kind"].default: section for section in sections if "kind" in section.model_fields
        }
        of_registry = [base for base in _REGISTRIES if sections and issubclass(sections[0], base)]
        self._registry = _REGISTRIES[of_registry[0]] if of_registry else None

    def __bool__(self) -> bool:
        return len(self._sections) > 1

    @property
    def default(self) -> str:
        """The kind of a section that names none."""
        return next(iter(self._sections))

    def names(self, kind: Any) -> list[str]:
        """The names of the values that a kind has."""
        section = self._sections.get(kind)
        return [name for name in section.model_fields if name != "kind"] if section is not None else []

    def shared(self, kind: Any, other: Any) -> frozenset[str]:
        """The names of the values that two kinds share, see `Registry.shared_fields`."""
        if self._registry is not None:
            return self._registry.shared_fields(kind, other)
        first, second = self._sections.get(kind), self._sections.get(other)
        return frozenset() if first is None or second is None else shared_fields(first, second)


def sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections that a value of this type may be, in all kinds."""
    return (member for member in types_in([annotation]) if takes(BaseModel, [member]))


def types_in(annotations: Sequence[Any]) -> list[Any]:
    """The types that `annotations` allow, with unions taken apart and metadata left out."""
    found: list[Any] = []
    for annotation in annotations:
        if annotation in _REGISTRIES:
            found += _REGISTRIES[annotation].known_sections()
        elif typing.get_origin(annotation) is Annotated:
            found += types_in(typing.get_args(annotation)[:1])
        elif typing.get_origin(annotation) in (typing.Union, types.UnionType):
            found += types_in(typing.get_args(annotation))
        else:
            found.append(annotation)
    return found


def takes(kinds: type | tuple[type, ...], types_: Sequence[Any]) -> bool:
    """Whether one of some types is a class of these kinds."""
    return any(isinstance(one, type) and issubclass(one, kinds) for one in types_)
