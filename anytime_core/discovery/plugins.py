"""The plugins of every group, and modalities among them."""

from __future__ import annotations

from anytime_core.entry_points import Group, Plugin, find_declared, import_declared, list_declared
from anytime_core.modality import API_VERSION, GROUP, Modality

MODALITIES = Group(GROUP, "modality", API_VERSION, label="name")


def list_plugins() -> list[Plugin]:
    """All declared modalities by name; nothing is imported."""
    return list_declared(MODALITIES)


def find_plugin(name: str) -> Plugin:
    """The one modality called `name`.

    Raises:
        UsageError: there is none.
        PluginError: there are several, or the user disabled it.
    """
    return find_declared(MODALITIES, name)


def load_modality(name: str) -> type[Modality]:
    """Import the modality called `name`, and no other.

    Raises:
        UsageError: there is no such plugin.
        PluginError: it is disabled or declared twice, cannot be imported, or does not fit this version; the message
            names entry point, distribution, version, cause and way out.
    """
    return import_declared(find_plugin(name))
