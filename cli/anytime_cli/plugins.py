"""`anytime plugins`: modality plugins and their state."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from anytime_cli import output

app = typer.Typer(help="Modality plugins: which are installed, and whether they work.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Modality plugins: which are installed, and whether they work."""


@app.command("list", epilog="Example: anytime plugins list --check")
def list_(
    check: Annotated[bool, typer.Option("--check", help="Import each plugin to find out whether it works.")] = False,
    json: output.JsonOption = False,
) -> None:
    """Declared modalities; without --check none of them is imported."""
    from anytime_core.plugins import check_plugin, list_plugins

    plugins = list_plugins()
    if check:
        with output.chatter_to_stderr():
            plugins = [check_plugin(plugin) for plugin in plugins]
    if json:
        output.print_json([dataclasses.asdict(plugin) for plugin in plugins])
        return
    output.print_table(
        ("modality", "state", "distribution", "version", "entry point", "problem"),
        [
            (plugin.name, plugin.state, plugin.distribution, plugin.version, plugin.target, plugin.problem)
            for plugin in plugins
        ],
        "no modalities installed: pip install --force-reinstall anytime-toolkit",
    )
