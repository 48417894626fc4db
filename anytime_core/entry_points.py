"""Finding plugins: entry points of a group, listed without importing any of them, and imported one by one.

`ANYTIME_DISABLE_PLUGINS=name,other` keeps plugins from being imported; `ANYTIME_DEBUG_PLUGINS=1` shows on stderr where
an import failed.
"""

from __future__ import annotations

import configparser
import contextlib
import importlib
import importlib.metadata
import importlib.util
import logging
import operator
import os
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import entrypoints

from anytime_core.errors import PluginError, UsageError, nearest

logger = logging.getLogger(__name__)

DISABLE_VARIABLE = "ANYTIME_DISABLE_PLUGINS"
"""Environment variable with the names, separated by commas, of plugins that must not be imported."""

DEBUG_VARIABLE = "ANYTIME_DEBUG_PLUGINS"
"""Environment variable that, set to 1, shows tracebacks of plugins that cannot be imported."""

State = Literal["ok", "broken", "incompatible", "duplicate", "disabled"]


@dataclass(frozen=True)
class Group:
    """A kind of plugins, which distributions declare in one entry-point group.

    Attributes:
        name: name of the entry-point group, such as `anytime.modalities`.
        what: the word for one plugin in messages, such as `modality`.
        api_version: the version of the plugins' contract in this toolkit.
        label: the class attribute in which a plugin repeats its name.
        own: names of the toolkit's own kinds, which have no entry point and which no plugin may take.
        base: `module:Class` from which the plugins derive, imported after them; empty: any class will do.
    """

    name: str
    what: str
    api_version: int
    label: str = "kind"
    own: tuple[str, ...] = ()
    base: str = ""

    @property
    def plural(self) -> str:
        """The word for several plugins, such as `modalities`."""
        return self.name.rpartition(".")[2]


@dataclass(frozen=True)
class Plugin:
    """What an entry point declares.

    Attributes:
        group: the group that it is declared in.
        name: what configs and options call it.
        target: `module:object` of the entry point.
        distribution: the installed distribution that declares it, with its `version`.
        state: `ok` as far as is known without importing it; `disabled` by the user; `duplicate` if two declarations
            share a name; `broken` or `incompatible` once importing it has failed.
        problem: cause and way out if the state is not `ok`.
    """

    group: Group
    name: str
    target: str
    distribution: str
    version: str
    state: State = "ok"
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.group.what} '{self.name}' ({self.target}, from {self.distribution} {self.version})"


def list_declared(group: Group) -> list[Plugin]:
    """All plugins of a group, sorted by name; nothing is imported."""
    found = {
        Plugin(
            group=group,
            name=point.name,
            target=f"{point.module_name}:{point.object_name or ''}",
            distribution=point.distro.name,
            version=point.distro.version or "unknown",
        )
        for point in _entry_points(group.name)
    }
    disabled = _disabled_names()
    plugins = sorted(found, key=lambda plugin: (plugin.name, plugin.distribution, plugin.target))
    return [_without_import(plugin, plugins, disabled) for plugin in plugins]


def unknown_disabled(plugins: Iterable[Plugin]) -> list[str]:
    """Names that the user disabled, and that none of `plugins` has."""
    return sorted(_disabled_names() - {plugin.name for plugin in plugins})


def _disabled_names() -> set[str]:
    return {name.strip() for name in os.environ.get(DISABLE_VARIABLE, "").split(",")} - {""}


def _without_import(plugin: Plugin, plugins: Iterable[Plugin], disabled: set[str]) -> Plugin:
    """The plugin with the state that is known without importing it; `plugins` are all of its group."""
    if plugin.name in disabled:
        problem = f"{plugin} is disabled by {DISABLE_VARIABLE}: unset it, or leave '{plugin.name}' out of it"
        return replace(plugin, state="disabled", problem=problem)
    owners = [f"{p.distribution} {p.version} ({p.target})" for p in plugins if p.name == plugin.name]
    if len(owners) > 1:
        problem = f"{plugin.group.what} '{plugin.name}' is declared by {' and by '.join(owners)}: uninstall all but one"
        return replace(plugin, state="duplicate", problem=problem)
    if plugin.name in plugin.group.own:
        problem = f"{plugin} has the name of one of the toolkit's own: update or uninstall {plugin.distribution}"
        return replace(plugin, state="duplicate", problem=problem)
    return plugin


def _entry_points(group: str) -> list[entrypoints.EntryPoint]:
    try:
        return [
            _parse(name, value, distribution)
            for lists, distribution in entrypoints.iter_files_distros()
            if lists.has_section(group)
            for name, value in lists.items(group)
        ]
    except (configparser.Error, UnicodeDecodeError) as error:
        # One distribution's damaged list must not hide all others: the standard library skips what it cannot read.
        logger.warning("an entry_points.txt is damaged: %s", _one_line(error))
        return [
            _parse(
                point.name,
                point.value,
                entrypoints.Distribution(*((point.dist.name, point.dist.version) if point.dist else ("unknown", None))),
            )
            for point in importlib.metadata.entry_points(group=group)
        ]


def _parse(name: str, value: str, distribution: entrypoints.Distribution) -> entrypoints.EntryPoint:
    """The entry point; if `value` is malformed, one that cannot be imported, so that it is still listed."""
    try:
        return entrypoints.EntryPoint.from_string(value, name, distribution)
    except entrypoints.BadEntryPoint:
        return entrypoints.EntryPoint(name, value, None, distro=distribution)


def find_declared(group: Group, name: str) -> Plugin:
    """The one plugin of a group that is called `name`.

    Raises:
        UsageError: there is none.
        PluginError: there are several, or the user disabled it.
    """
    plugins = list_declared(group)
    own = [plugin for plugin in plugins if plugin.name == name]
    if not own:
        names = sorted({plugin.name for plugin in plugins})
        installed = f"installed are {', '.join(names)}" if names else "none is installed"
        raise UsageError(f"no {group.what} '{name}'{nearest(name, names)}: {installed}")
    problems = dict.fromkeys(plugin.problem for plugin in own if plugin.problem)
    if problems:
        raise PluginError("; ".join(problems))
    return own[0]


def import_declared(plugin: Plugin) -> type:
    """The class that a plugin's entry point names. What its import prints goes to stderr.

    Raises:
        PluginError: the plugin is disabled, declared twice, cannot be imported, or does not fit this version. The
            message names the entry point, distribution, version, cause and way out.
    """
    if plugin.state != "ok":
        raise PluginError(plugin.problem)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            found = imported(plugin.target)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if debugging():
            traceback.print_exception(error)
        raise PluginError(failure(plugin, f"cannot be imported: {type(error).__name__}: {_one_line(error)}")) from error
    way_out = f"update or uninstall {plugin.distribution}"
    version = getattr(found, "api_version", None)
    if version != plugin.group.api_version:
        raise PluginError(
            f"{plugin} has api_version {version!r}, this toolkit needs {plugin.group.api_version}; {way_out}"
        )
    name = getattr(found, plugin.group.label, None)
    if name != plugin.name:
        raise PluginError(f"{plugin} calls itself {name!r}; {way_out}")
    if plugin.group.base and not (isinstance(found, type) and issubclass(found, imported(plugin.group.base))):
        raise PluginError(f"{plugin} does not derive from {plugin.group.base.replace(':', '.')}; {way_out}")
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        raise PluginError(f"{plugin} does not define {', '.join(missing)}; {way_out}")
    return found


def imported(target: str) -> Any:
    """What `module:Class` names."""
    module, _, attribute = target.partition(":")
    return operator.attrgetter(attribute)(importlib.import_module(module))


def failure(plugin: Plugin, what: str) -> str:
    """The message for a plugin that fails in a way that a traceback explains, such as `cannot be imported: ...`."""
    return f"{plugin} {what}; update or uninstall {plugin.distribution} ({DEBUG_VARIABLE}=1 shows the traceback)"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def debugging() -> bool:
    """Whether the user wants to see tracebacks of plugins."""
    return os.environ.get(DEBUG_VARIABLE, "0") not in ("", "0")


def package_folder(plugin: Plugin) -> Path | None:
    """Folder of the plugin's top-level package, found without importing it."""
    try:
        spec = importlib.util.find_spec(plugin.target.partition(":")[0].partition(".")[0])
    except (ImportError, ValueError):
        return None
    locations = list(spec.submodule_search_locations or ()) if spec else []
    return Path(locations[0]) if locations else None
