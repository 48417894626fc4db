"""Registries: the kinds of a thing by name. No kind is imported before it is used.

A registry knows core's own kinds and, if it has a group of entry points, the kinds that other distributions declare.
The config sections that choose a kind, help, weights files and contract tests follow from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from anytime_core.display import shown
from anytime_core.entry_points import Group, Plugin, find_declared, import_declared, imported, list_declared
from anytime_core.errors import PluginError, UsageError, nearest
from anytime_core.section import Section, shared_fields

T = TypeVar("T")


@dataclass(frozen=True)
class Kind:
    """A kind that core has.

    Attributes:
        name: what configs call it.
        target: `module:Class`.
        section: `module:Class` of its section, which can be imported without the kind itself.
        description: one line.
    """

    name: str
    target: str
    section: str
    description: str


class Registry(Generic[T]):
    """Kinds by name, in the order of their declaration; kinds of other distributions are last.

    Args:
        what: the word for one of them, in messages.
        section: the base of their sections.
        default: the kind of a section that does not name one.
        built_in: core's own kinds.
        group: the group of entry points that declare further kinds; None: there are none.
    """

    def __init__(
        self, what: str, section: type[Section], default: str, built_in: Sequence[Kind], group: Group | None = None
    ) -> None:
        self.what, self.section, self.default, self.group = what, section, default, group
        self.built_in = {kind.name: kind for kind in built_in}
        self._imported: dict[str, type[T]] = {}

    def __iter__(self) -> Iterator[str]:
        declared = [plugin.name for plugin in list_declared(self.group)] if self.group is not None else []
        return iter(dict.fromkeys([*self.built_in, *declared]))

    def described(self) -> dict[str, str]:
        """Each kind and what it is in a line, or the distribution that declares it; nothing is imported."""
        declared = list_declared(self.group) if self.group is not None else []
        own = {name: kind.description for name, kind in self.built_in.items()}
        return {**{plugin.name: f"from {plugin.distribution} {plugin.version}" for plugin in declared}, **own}

    def __contains__(self, kind: object) -> bool:
        # To list plugins, all that is installed is searched.
        return (isinstance(kind, str) and kind in self.built_in) or kind in list(self)

    def __getitem__(self, kind: str) -> type[T]:
        """The class of a kind, imported.

        Raises:
            UsageError: there is no such kind.
            PluginError: the plugin that declares it does not work.
        """
        if kind in self.built_in:
            return imported(self.built_in[kind].target)
        if kind not in self._imported:
            self._imported[kind] = import_declared(find_declared(self._declaring(kind), kind))
        return self._imported[kind]

    def section_of(self, kind: str) -> type[Section]:
        """The section of a kind. Raises what `__getitem__` raises."""
        if kind in self.built_in:
            return imported(self.built_in[kind].section)
        section = getattr(self[kind], "Config", None)
        if not (isinstance(section, type) and issubclass(section, self.section)):
            raise PluginError(f"{self.origin(kind)} has no Config that derives from {self.section.__name__}")
        if (said := section.model_fields["kind"].default) != kind:
            raise PluginError(f"{self.origin(kind)} has a Config of kind {said!r}, where it should be '{kind}'")
        return section

    def known_sections(self) -> list[type[Section]]:
        """The sections of core's own kinds and of the kinds that are imported already; the default kind's first."""
        names = sorted([*self.built_in, *self._imported], key=lambda kind: kind != self.default)
        return [self.section_of(kind) for kind in names]

    def shared_fields(self, kind: object, other: object) -> frozenset[str]:
        """The names of the fields that a common base of the sections of two kinds declares; without `kind`.

        Of a kind that is not installed, or does not work, only those are known that all kinds have.
        """
        return shared_fields(self._section_or_base(kind), self._section_or_base(other))

    def _section_or_base(self, kind: object) -> type[Section]:
        try:
            return self.section_of(kind) if isinstance(kind, str) else self.section
        except (UsageError, PluginError):
            return self.section

    def plugin(self, kind: str) -> Plugin | None:
        """The plugin that declares a kind; None if core has it."""
        return None if kind in self.built_in else find_declared(self._declaring(kind), kind)

    def origin(self, kind: str) -> str:
        """A kind and, if another distribution declares it, that distribution, for messages."""
        if self.group is None or kind in self.built_in:
            return f"{self.what} '{shown(kind)}'"
        return str(find_declared(self.group, kind))

    def parse(self, value: Any) -> Any:
        """The section of the kind that `value` names, for a field of a config.

        Raises:
            ValidationError: there is no such kind; the error's type is `unknown_kind`, and its `ctx` says what is
                absent and whether a plugin may have it. Or the section has mistakes.
        """
        if isinstance(value, self.section):
            return value
        kind = value.get("kind", self.default) if isinstance(value, Mapping) else self.default
        if not isinstance(kind, str):
            raise PydanticCustomError("no_name", "kind: input should be a name, found {found}", {"found": repr(kind)})
        try:
            section = self.section_of(kind)
        except UsageError as error:
            absent = {"absent": f"no {self.what} '{shown(str(kind))}'", "plugins": self.group is not None}
            unknown = PydanticCustomError("unknown_kind", "{message}", {**absent, "message": str(error)})
            detail = InitErrorDetails(type=unknown, loc=("kind",), input=kind)
            raise ValidationError.from_exception_data(self.what, [detail]) from error
        return section.model_validate(value)

    def _declaring(self, kind: str) -> Group:
        """The group that declares a kind. Raises UsageError if nothing does."""
        if self.group is None or kind not in self:
            names = list(self)
            plugins = "" if self.group is None else "; others come with plugins, see anytime plugins list"
            raise UsageError(
                f"no {self.what} '{shown(kind)[:100]}'{nearest(kind, names)}: choose {', '.join(names)}{plugins}"
            )
        return self.group
