"""Recipes: the configs that modality plugins ship, named `modality/name`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anytime_core.config_parsing import read_yaml
from anytime_core.data.locations import user_path
from anytime_core.discovery.blocks import PRIORS, QUICK, as_block, without_blocks
from anytime_core.discovery.plugins import list_modalities
from anytime_core.discovery.quick import has_quick, quick_variant
from anytime_core.display import shown
from anytime_core.entry_points import package_folder
from anytime_core.errors import UsageError, nearest
from anytime_core.spelling import argument

_CHECKOUT = Path(__file__).parents[2] / "configs"


@dataclass(frozen=True)
class Recipe:
    """A config in a file, such as those that plugins ship.

    Attributes:
        name: `modality/name` if a plugin ships it, else the name of the file.
        path: the YAML file.
        description: its first comment line if a plugin ships it, else empty.
    """

    name: str
    path: Path
    description: str = ""

    def read(self, *, quick: bool = False) -> dict[str, Any]:
        """The config's values, or those of its quick variant.

        Raises:
            UsageError: the file is not a config, or has no quick variant.
        """
        data = read_yaml(self.path)
        return quick_variant(data, self.name) if quick else without_blocks(data)

    def priors(self, *, quick: bool = False) -> dict[str, Any]:
        """What the config, or its quick variant, says of other kinds of priors: kind -> values."""
        data = read_yaml(self.path)
        values = as_block((data.get(QUICK) or {}) if quick else data, QUICK, self.name).get(PRIORS) or {}
        return json.loads(json.dumps(values))  # plain numbers, which do not remember how they were written

    @property
    def has_quick(self) -> bool:
        """Whether it has a quick variant. Raises UsageError if the file is not a config."""
        return has_quick(read_yaml(self.path), self.name)


def list_recipes() -> list[Recipe]:
    """The recipes of all installed plugins, sorted by name; no plugin is imported."""
    return sorted(_recipes(), key=lambda recipe: recipe.name)


def find_recipe(name: str) -> Recipe:
    """The recipe called `name`; the modality may be left out if the rest is unique.

    Raises:
        UsageError: the name is unknown or ambiguous.
    """
    recipes = {recipe.name: recipe for recipe in list_recipes()}
    if name in recipes:
        return recipes[name]
    same = [recipe for recipe in recipes.values() if recipe.name.partition("/")[2] == name]
    if len(same) == 1:
        return same[0]
    if same:
        raise UsageError(f"recipe '{shown(name)}' could be {' or '.join(recipe.name for recipe in same)}")
    known = [*recipes, *(recipe.rpartition("/")[2] for recipe in recipes)]
    raise UsageError(f"no recipe '{shown(name)}'{nearest(name, known)}: see anytime recipes list, or give a YAML file")


def find_config(text: str) -> Recipe:
    """The recipe that `text` names, or the YAML file, whose name the recipe then has.

    Raises:
        UsageError: it is neither.
    """
    path = user_path(text)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return Recipe(path.stem, path)
    try:
        return find_recipe(text)
    except UsageError:
        if path.exists():
            return Recipe(path.stem, path)  # reading it then says what is wrong
        raise


def default_recipe(modality: str) -> Recipe:
    """The recipe that a modality trains without options: its first line ends with `(default)`.

    Raises:
        UsageError: the modality ships none.
    """
    own = [recipe for recipe in list_recipes() if recipe.name.startswith(f"{modality}/")]
    for recipe in own:
        if recipe.description.endswith("(default)"):
            return recipe
    if own:
        return own[0]
    raise UsageError(f"modality '{modality}' ships no recipe: give {argument('config', 'FILE')}")


def _recipes() -> Iterator[Recipe]:
    for modality, folder in _folders():
        for path in folder.glob("*.yaml"):
            first = path.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
            yield Recipe(f"{modality}/{path.stem}", path, first.removeprefix("#").strip())


def _folders() -> Iterator[tuple[str, Path]]:
    """The `recipes` folder of each plugin; in a checkout of this repository, the built-in ones are in `configs`."""
    # If plugins share a name, which is an error once one is needed, the recipes of the first one are listed.
    for plugin in {plugin.name: plugin for plugin in reversed(list_modalities())}.values():
        package = package_folder(plugin)
        for folder in (package / "recipes" if package else None, _CHECKOUT / plugin.name):
            if folder is not None and folder.is_dir():
                yield plugin.name, folder
                break
