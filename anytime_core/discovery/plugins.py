"""The plugins of every group, and the modality that a command needs."""

from __future__ import annotations

from anytime_core.display import shown
from anytime_core.entry_points import Group, Plugin, find_declared, import_declared, list_declared
from anytime_core.errors import UsageError, nearest
from anytime_core.modality import API_VERSION, GROUP, Modality
from anytime_core.priors.registry import PRIOR_GROUP
from anytime_core.value_networks import NETWORKS

MODALITIES = Group(GROUP, "modality", API_VERSION, label="name")

GROUPS = {group.what: group for group in (MODALITIES, PRIOR_GROUP)}
"""All groups by the word for one of their plugins."""


def list_plugins() -> list[Plugin]:
    """All declared plugins, by group and name; nothing is imported."""
    return [plugin for group in GROUPS.values() for plugin in list_declared(group)]


def group_of(name: str) -> Group:
    """The group that has a plugin, or a kind of the toolkit's own, called `name`.

    Raises:
        UsageError: no group has it, or several have it.
    """
    known = {
        group: sorted({*group.own, *(plugin.name for plugin in list_declared(group))}) for group in GROUPS.values()
    }
    groups = [group for group, names in known.items() if name in names]
    if len(groups) == 1:
        return groups[0]
    if groups:
        kinds = " and a ".join(group.what for group in groups)
        raise UsageError(f"'{name}' is a {kinds}: say which one with --kind {groups[0].what}")
    similar = nearest(name, [one for names in known.values() for one in names])
    installed = "; ".join(f"{group.plural} are {', '.join(names)}" for group, names in known.items() if names)
    raise UsageError(f"no plugin '{shown(name)}'{similar}: {installed or 'none is installed'}")


def list_modalities() -> list[Plugin]:
    """All declared modalities by name; nothing is imported."""
    return list_declared(MODALITIES)


def find_modality(name: str) -> Plugin:
    """The one modality called `name`.

    Raises:
        UsageError: there is none.
        PluginError: there are several, or the user disabled it.
    """
    return find_declared(MODALITIES, name)


def load_modality(name: str) -> type[Modality]:
    """Import the modality called `name`, and no other; then its networks over values can be chosen.

    Raises:
        UsageError: there is no such plugin.
        PluginError: the plugin is disabled, declared twice, cannot be imported, or does not fit this version. The
            message names the entry point, distribution, version, cause and way out. Or its networks over values are not
            what the contract says.
    """
    modality = import_declared(find_modality(name))
    NETWORKS.offer(modality)
    return modality
