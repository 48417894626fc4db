"""`anytime plugins`: modalities and priors of others, their state, their contract, and templates for new ones."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from anytime_cli import option_types, output
from anytime_core.errors import nearest, writing_to

if TYPE_CHECKING:
    from anytime_core.testing import CheckResult

Kind = Literal["modality", "prior"]

app = option_types.Commands(help="List and check plugins, which add modalities and priors; write a new one.")


@app.callback()
def group() -> None:
    """List and check plugins, which add modalities and priors; write a new one."""


@app.command("list", epilog="Example: anytime plugins list --check")
def list_(
    check: Annotated[bool, typer.Option("--check", help="Import each plugin to find out whether it works.")] = False,
    json: output.JsonOption = False,
) -> None:
    """List the modalities and priors that are declared. Without --check, none of them is imported."""
    from anytime_core.discovery.checks import check_plugin
    from anytime_core.discovery.plugins import list_plugins
    from anytime_core.entry_points import DISABLE_VARIABLE, unknown_disabled

    plugins = list_plugins()
    for name in unknown_disabled(plugins):
        similar = nearest(name, {plugin.name for plugin in plugins})
        output.say(f"warning: {DISABLE_VARIABLE} names '{name}'{similar}, but no such plugin is installed")
    if check:
        plugins = [check_plugin(plugin) for plugin in plugins]
    if json:
        output.print_json([{**dataclasses.asdict(plugin), "group": plugin.group.what} for plugin in plugins])
        return
    output.print_table(
        ("kind", "name", "state", "distribution", "version", "entry point", "problem"),
        [
            (
                plugin.group.what,
                plugin.name,
                plugin.state,
                plugin.distribution,
                plugin.version,
                plugin.target,
                plugin.problem,
            )
            for plugin in plugins
        ],
        "no plugins installed: pip install --force-reinstall anytime-toolkit",
    )


@app.command("check", epilog="Example: anytime plugins check image")
def check(
    name: Annotated[str, typer.Argument(help="The modality or prior to check.", show_default=False)],
    kind: Annotated[
        Kind | None,
        typer.Option(help="Which one to check if a modality and a prior have this name.", show_default=False),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            help="A recipe or a YAML file with the plugin's sections. Default: the plugin's defaults.",
            show_default=False,
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change one value, such as data.root=DIR. May be repeated."),
    ] = None,
    json: output.JsonOption = False,
) -> None:
    """Check that a modality or prior keeps the contract of its kind. The exit status is 1 if it does not."""
    from anytime_core.discovery.plugins import GROUPS, group_of

    def tell(result: CheckResult) -> None:
        if not json:
            output.say(f"{result.outcome:<8}  {result.name}" + f": {result.message}" * bool(result.message))

    group = GROUPS[kind] if kind is not None else group_of(name)
    run, contract = _CONTRACTS[group.what]
    results = run(name, config, overrides or (), tell)
    if json:
        output.print_json([dataclasses.asdict(result) for result in results])
    failed = [result for result in results if not result.good]
    if failed:
        output.say(
            f"{group.what} '{name}' fails {len(failed)} of {len(results)} checks; to read the contract: "
            f"python -m pydoc {contract}"
        )
        raise typer.Exit(1)
    skipped = sum(result.outcome == "skipped" for result in results)
    skips = f" that are for it, and skips {skipped}" if skipped else ""
    output.say(f"{group.what} '{name}' passes all {len(results) - skipped} checks{skips}")


def _check_modality(
    name: str, config: str | None, overrides: Sequence[str], tell: Callable[[CheckResult], None]
) -> list[CheckResult]:
    from anytime_core.config_parsing import apply_overrides, parse_config
    from anytime_core.discovery.plugins import load_modality
    from anytime_core.discovery.recipes import find_config
    from anytime_core.errors import UsageError
    from anytime_core.testing import check_modality

    modality = load_modality(name)
    data = {} if config is None else find_config(config).read()
    data = apply_overrides(data, overrides, modality.Config)
    if data and data.setdefault("modality", name) != name:
        raise UsageError(f"the config is of modality '{data['modality']}', not '{name}': give another --config")
    sections = parse_config(data, modality.Config).modality.model_dump(exclude_unset=True)
    with output.chatter_to_stderr():
        return check_modality(modality, sections, on_result=tell)


def _check_prior(
    name: str, config: str | None, overrides: Sequence[str], tell: Callable[[CheckResult], None]
) -> list[CheckResult]:
    from anytime_core.config_parsing import apply_overrides, modality_name, parse_config
    from anytime_core.discovery.plugins import load_modality
    from anytime_core.discovery.recipes import find_config
    from anytime_core.errors import UsageError
    from anytime_core.priors.registry import PRIORS
    from anytime_core.testing import check_prior

    prior = PRIORS[name]
    data: dict[str, Any] = {"prior": {"kind": name}} if config is None else find_config(config).read()
    modality = load_modality(modality_name(data, overrides)).Config
    section = parse_config(apply_overrides(data, overrides, modality), modality).core.prior
    if section.kind != name:
        raise UsageError(f"the config is of prior.kind '{section.kind}', not '{name}': give another --config")
    with output.chatter_to_stderr():
        return check_prior(prior, section.model_dump(exclude_unset=True), on_result=tell)


_CONTRACTS = {
    "modality": (_check_modality, "anytime_core.modality.Modality"),
    "prior": (_check_prior, "anytime_core.priors.base"),
}


@app.command("new", epilog="Examples: anytime plugins new heart-beats; anytime plugins new gated --kind prior")
def new(
    name: Annotated[
        str,
        typer.Argument(help="Name of the new modality or prior, such as motion or heart-beats.", show_default=False),
    ],
    kind: Annotated[
        Kind, typer.Option(help="What it adds: modality, a kind of data; or prior, a model of the codes of any data.")
    ] = "modality",
    out: Annotated[
        Path | None,
        typer.Option(
            parser=option_types.path,
            metavar="<path>",
            help="Folder to create. Default: anytime-<name>.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a complete plugin that can be installed, passes the contract of its kind, and trains without changes."""
    from anytime_core.discovery.plugins import GROUPS
    from anytime_core.discovery.templates import write_plugin

    folder = out or Path(f"anytime-{name.replace('_', '-')}")
    with writing_to(folder, "--out"):
        write_plugin(name, folder, GROUPS[kind])
    output.say(f"wrote {folder}; next:")
    chosen = f"--modality {name}" if kind == "modality" else f"--set prior.kind={name}"
    for line in (
        f"cd {shlex.quote(str(folder))} && pip install -e '.[dev]'",
        f"anytime plugins check {name}",
        f"anytime train {chosen}",
    ):
        output.say(f"  {line}")
