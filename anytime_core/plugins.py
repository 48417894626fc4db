"""Finding modality plugins: entry points of the group `anytime.modalities`, listed without importing any of them."""

from __future__ import annotations

import configparser
import importlib
import importlib.metadata
import importlib.util
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import entrypoints

from anytime_core.errors import PluginError, UsageError, nearest
from anytime_core.modality import API_VERSION, GROUP, Modality

logger = logging.getLogger(__name__)

State = Literal["ok", "duplicate", "broken", "incompatible"]


@dataclass(frozen=True)
class Plugin:
    """A declared modality.

    Attributes:
        name: what configs and `--modality` call it.
        target: `module:object` of the entry point.
        distribution: the installed distribution that declares it, with its `version`.
        state: `ok` as far as is known without importing it; `duplicate` where two distributions share a name;
            `broken` or `incompatible` once loading it has failed.
        problem: cause and way out, where the state is not `ok`.
    """

    name: str
    target: str
    distribution: str
    version: str
    state: State = "ok"
    problem: str = ""

    def __str__(self) -> str:
        return f"modality '{self.name}' ({self.target}, from {self.distribution} {self.version})"


def list_plugins() -> list[Plugin]:
    """All declared modalities by name; nothing is imported."""
    found = {
        Plugin(
            name=point.name,
            target=f"{point.module_name}:{point.object_name or ''}",
            distribution=point.distro.name if point.distro else "unknown",
            version=point.distro.version if point.distro else "unknown",
        )
        for point in _entry_points()
    }
    count = Counter(plugin.name for plugin in found)
    return [
        replace(plugin, state="duplicate", problem=_duplicate(plugin, found)) if count[plugin.name] > 1 else plugin
        for plugin in sorted(found, key=lambda plugin: (plugin.name, plugin.distribution))
    ]


def _entry_points() -> list[entrypoints.EntryPoint]:
    try:
        return entrypoints.get_group_all(GROUP)
    except (configparser.Error, UnicodeDecodeError) as error:
        # One distribution's damaged list must not hide all others: the standard library skips what it cannot read.
        logger.warning("an entry_points.txt is damaged: %s", " ".join(str(error).split()))
        return [
            entrypoints.EntryPoint(
                point.name,
                *point.value.partition(":")[::2],
                distro=entrypoints.Distribution(point.dist.name, point.dist.version) if point.dist else None,
            )
            for point in importlib.metadata.entry_points(group=GROUP)
        ]


def find_plugin(name: str) -> Plugin:
    """The one plugin called `name`.

    Raises:
        UsageError: there is none.
        PluginError: there are several.
    """
    plugins = list_plugins()
    plugin = next((plugin for plugin in plugins if plugin.name == name), None)
    if plugin is None:
        names = sorted({plugin.name for plugin in plugins})
        installed = f"installed are {', '.join(names)}" if names else "none is installed"
        raise UsageError(f"no modality '{name}'{nearest(name, names)}: {installed}")
    if plugin.state == "duplicate":
        raise PluginError(plugin.problem)
    return plugin


def load_modality(name: str) -> type[Modality]:
    """Import the plugin called `name`, and no other.

    Raises:
        UsageError: there is no such plugin.
        PluginError: it cannot be imported or does not fit this version, naming distribution, cause and way out.
    """
    return import_plugin(find_plugin(name))


def import_plugin(plugin: Plugin) -> type[Modality]:
    """The class that a plugin's entry point names. Raises PluginError as `load_modality` does."""
    module_name, _, attribute = plugin.target.partition(":")
    way_out = f"update or uninstall {plugin.distribution}"
    try:
        modality = getattr(importlib.import_module(module_name), attribute)
    except (Exception, SystemExit) as error:
        raise PluginError(f"{plugin} cannot be imported: {type(error).__name__}: {error}; {way_out}") from error
    version = getattr(modality, "api_version", None)
    if version != API_VERSION:
        raise PluginError(f"{plugin} has api_version {version!r}, this toolkit needs {API_VERSION}; {way_out}")
    if getattr(modality, "name", None) != plugin.name:
        raise PluginError(f"{plugin} calls itself {getattr(modality, 'name', None)!r}; {way_out}")
    return modality


def check_plugin(plugin: Plugin) -> Plugin:
    """The plugin with the state that importing it gives."""
    if plugin.state != "ok":
        return plugin
    try:
        import_plugin(plugin)
    except PluginError as error:
        state: State = "broken" if isinstance(error.__cause__, BaseException) else "incompatible"
        return replace(plugin, state=state, problem=str(error))
    return plugin


def package_folder(plugin: Plugin) -> Path | None:
    """Folder of the plugin's top-level package, found without importing it."""
    try:
        spec = importlib.util.find_spec(plugin.target.partition(":")[0].partition(".")[0])
    except (ImportError, ValueError):
        return None
    locations = list(spec.submodule_search_locations or ()) if spec else []
    return Path(locations[0]) if locations else None


def _duplicate(plugin: Plugin, found: Iterable[Plugin]) -> str:
    owners = sorted(f"{other.distribution} {other.version}" for other in found if other.name == plugin.name)
    return f"modality '{plugin.name}' is declared by {' and by '.join(owners)}: uninstall all but one"
