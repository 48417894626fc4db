"""`anytime plugins`: modality plugins, their state, their contract, and a template for new ones."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Annotated

import typer

from anytime_cli import option_types, output

app = option_types.Commands(help="Modality plugins: which are installed, whether they work, and new ones.")


@app.callback()
def group() -> None:
    """Modality plugins: which are installed, whether they work, and new ones."""


@app.command("list", epilog="Example: anytime plugins list --check")
def list_(
    check: Annotated[bool, typer.Option("--check", help="Import each plugin to find out whether it works.")] = False,
    json: output.JsonOption = False,
) -> None:
    """Declared modalities; without --check none of them is imported."""
    from anytime_core.discovery.checks import check_plugin
    from anytime_core.discovery.plugins import list_plugins
    from anytime_core.entry_points import DISABLE_VARIABLE, unknown_disabled
    from anytime_core.errors import nearest

    plugins = list_plugins()
    for name in unknown_disabled(plugins):
        similar = nearest(name, {plugin.name for plugin in plugins})
        output.say(f"warning: {DISABLE_VARIABLE} names '{name}'{similar}, and no such modality is installed")
    if check:
        plugins = [check_plugin(plugin) for plugin in plugins]
    if json:
        output.print_json([{**dataclasses.asdict(plugin), "group": plugin.group.what} for plugin in plugins])
        return
    output.print_table(
        ("modality", "state", "distribution", "version", "entry point", "problem"),
        [
            (plugin.name, plugin.state, plugin.distribution, plugin.version, plugin.target, plugin.problem)
            for plugin in plugins
        ],
        "no modalities installed: pip install --force-reinstall anytime-toolkit",
    )


@app.command("check", epilog="Example: anytime plugins check image")
def check(
    name: Annotated[str, typer.Argument(help="Modality to check.", show_default=False)],
    config: Annotated[
        str | None,
        typer.Option(
            help="A recipe or a YAML file with the plugin's sections. Default: its defaults.", show_default=False
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one value, such as data.root=DIR. May be repeated."),
    ] = None,
    json: output.JsonOption = False,
) -> None:
    """Run the contract of modality plugins on one of them; the exit status is 1 where it is not kept."""
    from anytime_core.config_parsing import apply_overrides, parse_config
    from anytime_core.discovery.plugins import load_modality
    from anytime_core.discovery.recipes import find_config
    from anytime_core.errors import UsageError
    from anytime_core.testing import CheckResult, check_modality

    modality = load_modality(name)
    data = {} if config is None else find_config(config).read()
    data = apply_overrides(data, overrides or (), modality.Config)
    if data and data.setdefault("modality", name) != name:
        raise UsageError(f"the config is of modality '{data['modality']}', not '{name}': give another --config")
    sections = parse_config(data, modality.Config).modality.model_dump(exclude_unset=True)

    def tell(result: CheckResult) -> None:
        if not json:
            output.say(f"{result.outcome:<8}  {result.name}" + f": {result.message}" * bool(result.message))

    with output.chatter_to_stderr():
        results = check_modality(modality, sections, on_result=tell)
    if json:
        output.print_json([dataclasses.asdict(result) for result in results])
    failed = [result for result in results if not result.good]
    if failed:
        output.say(
            f"modality '{name}' fails {len(failed)} of {len(results)} checks; the contract is shown by "
            "python -m pydoc anytime_core.modality.Modality"
        )
        raise typer.Exit(1)
    skipped = sum(result.outcome == "skipped" for result in results)
    skips = f" that are for it, and skips {skipped}" if skipped else ""
    output.say(f"modality '{name}' passes all {len(results) - skipped} checks{skips}")


@app.command("new", epilog="Example: anytime plugins new heart-beats")
def new(
    name: Annotated[str, typer.Argument(help="Of the modality, such as motion or heart-beats.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=option_types.path,
            metavar="<path>",
            help="Folder to make. Default: anytime-<name>.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a complete plugin for a new kind of data, which installs, passes the contract and trains as it is."""
    from anytime_core.discovery.templates import write_plugin

    folder = out or Path(f"anytime-{name.replace('_', '-')}")
    with output.writing_to(folder):
        write_plugin(name, folder)
    output.say(f"wrote {folder}; next:")
    for line in (
        f"cd {shlex.quote(str(folder))} && pip install -e '.[dev]'",
        f"anytime plugins check {name}",
        f"anytime train --modality {name}",
    ):
        output.say(f"  {line}")
