"""`anytime recipes`: the shipped configs."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from anytime_cli import option_types, output

app = option_types.Commands(help="List, show or copy the shipped configs; list the baselines.")

NameArgument = Annotated[str, typer.Argument(help="Name of the recipe, such as image/mnist.", show_default=False)]


@app.command("list")
def list_(json: output.JsonOption = False) -> None:
    """List the recipes of all installed modalities."""
    from anytime_core.discovery.recipes import list_recipes

    recipes = list_recipes()
    if json:
        output.print_json([{"name": recipe.name, "description": recipe.description} for recipe in recipes])
        return
    output.print_table(
        ("recipe", "what it is"), [(recipe.name, recipe.description) for recipe in recipes], "no recipes installed"
    )


@app.command("baselines", epilog="Example: anytime train --config image/mnist --baseline dedicated-8")
def baselines(json: output.JsonOption = False) -> None:
    """List the models to compare with. anytime train --baseline makes them of any recipe."""
    from anytime_core.discovery.baselines import BASELINES

    rows = [(name, baseline.description) for name, baseline in BASELINES.items()]
    if json:
        output.print_json([{"name": name, "description": description} for name, description in rows])
        return
    output.print_table(("baseline", "what it is"), rows, "no baselines")


@app.command("show", epilog="Example: anytime recipes show image/mnist > mine.yaml")
def show(name: NameArgument, json: output.JsonOption = False) -> None:
    """Print a recipe with all its values, including defaults, what --quick changes, and values for other priors."""
    import yaml

    from anytime_core.config_differences import changed_values, nested
    from anytime_core.config_parsing import parse_config
    from anytime_core.discovery.blocks import PRIORS, QUICK
    from anytime_core.discovery.plugins import load_modality
    from anytime_core.discovery.recipes import find_recipe

    recipe = find_recipe(name)
    sections = load_modality(recipe.name.partition("/")[0]).Config
    config = parse_config(recipe.read(), sections).to_dict()
    if recipe.has_quick:
        quick = parse_config(recipe.read(quick=True), sections).to_dict()
        config[QUICK] = nested(changed_values(config, quick))
        if others := recipe.priors(quick=True):
            config[QUICK][PRIORS] = others
    if others := recipe.priors():
        config[PRIORS] = others
    if json:
        output.print_json(config)
    else:
        text = yaml.safe_dump(config, sort_keys=False)
        output.print_text(f"# {recipe.description}\n{text}".rstrip("\n"))


@app.command("copy", epilog="Example: anytime recipes copy image/mnist mine.yaml")
def copy(
    name: NameArgument,
    path: Annotated[
        Path | None,
        typer.Argument(parser=option_types.path, help="File to write. Default: <name>.yaml here.", show_default=False),
    ] = None,
    json: output.JsonOption = False,
) -> None:
    """Copy a recipe to a file of your own, for anytime train --config FILE."""
    from anytime_core.data.files import write_text
    from anytime_core.discovery.recipes import find_recipe
    from anytime_core.errors import UsageError

    recipe = find_recipe(name)
    path = path or Path(recipe.path.name)
    if os.path.lexists(path):
        raise UsageError(f"{path} exists: name another file")
    write_text(path, recipe.path.read_text(encoding="utf-8"))
    if json:
        output.print_json({"recipe": recipe.name, "file": str(path)})
        return
    output.say(f"wrote {path}: anytime train --config {shlex.quote(str(path))}")
