"""What `anytime train` trains: a config, made of a recipe, a file or a run by options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anytime_core.display import shown

if TYPE_CHECKING:
    from pydantic import BaseModel

    from anytime_core.config import Config
    from anytime_core.discovery.recipes import Recipe


@dataclass(frozen=True)
class Subject:
    """What to train, checked.

    Attributes:
        recipe: name of the recipe or file that it comes from.
        baseline: what was made of it; None: nothing else.
        quick: whether it is the quick variant.
        config: all values.
        has_quick: whether there is a quick variant that it is not.
    """

    recipe: str
    baseline: str | None
    quick: bool
    config: Config
    has_quick: bool

    @property
    def name(self) -> str:
        """Such as `image/mnist`, `image/mnist-quick` or `image/mnist-unordered`."""
        return "-".join(filter(None, (self.recipe, "quick" if self.quick else None, self.baseline)))


def resolve(
    modality: str | None,
    config: str | None,
    baseline: str | None,
    overrides: Sequence[str],
    run: Path | None,
    *,
    quick: bool,
) -> Subject:
    """A run's own config, a YAML file, a recipe, or the default one.

    With `quick` its quick variant is taken, of which `baseline` makes another model, which `overrides` change further.
    """
    from anytime_core.config import CoreConfig
    from anytime_core.config_parsing import apply_overrides, modality_name, parse_config, read_yaml
    from anytime_core.discovery.baselines import find_baseline
    from anytime_core.discovery.plugins import find_plugin, load_modality
    from anytime_core.discovery.recipes import default_recipe, find_config
    from anytime_core.errors import UsageError
    from anytime_core.record import CONFIG_FILE, read_record

    changes = find_baseline(baseline) if baseline is not None else None
    data: dict[str, Any]
    has_quick, recipe = False, None
    if run is not None:
        record = read_record(run)
        for option, other in ((f"--baseline {baseline}", baseline not in (None, record.baseline)), ("--quick", quick)):
            if other and not (option == "--quick" and record.quick):
                raise UsageError(f"run {run} was not started with {option}: choose another --run")
        name, data = record.recipe or run.name, read_yaml(run / CONFIG_FILE)
        baseline, quick, changes = record.baseline, record.quick, None  # which its config has already
    else:
        plugin = CoreConfig().modality if modality is None else modality
        recipe = default_recipe(find_plugin(plugin).name) if config is None else find_config(config)
        name, data = recipe.name, recipe.read(quick=quick)
        has_quick = not quick and recipe.has_quick
    sections = load_modality(modality_name(data, overrides)).Config
    if recipe is not None and recipe.has_quick:
        _check_quick(recipe, sections)
    if changes is not None:
        quantizer = parse_config(data, sections).core.autoencoder.quantizer
        data = apply_overrides(data, changes.overrides(quantizer), sections)
    parsed = parse_config(apply_overrides(data, overrides, sections), sections)
    return Subject(name, baseline, quick, parsed, has_quick)


def _check_quick(recipe: Recipe, sections: type[BaseModel]) -> None:
    """Raise ConfigError for a mistake in a block `quick`, whether it is asked for or not."""
    from anytime_core.config_parsing import parse_config
    from anytime_core.errors import ConfigError

    try:
        parse_config(recipe.read(), sections)
    except ConfigError:
        return  # which is of the config itself, or mended by what else is said
    try:
        parse_config(recipe.read(quick=True), sections)
    except ConfigError as error:
        raise ConfigError(f"below quick: in {shown(recipe.path)}: {error}") from error


def settings(options: Mapping[str, object], overrides: Sequence[str]) -> list[str]:
    """Overrides for `options`, None where one was not given. Raises UsageError where `--set` says otherwise."""
    from anytime_core.errors import UsageError

    given = {key: str(value) for key, value in options.items() if value is not None}
    for override in overrides:
        key, _, value = (part.strip() for part in override.partition("="))
        if key in given and value.lower() != given[key].lower():
            name = key.rpartition(".")[2]
            raise UsageError(f"--{name} {given[key]} and --set {override} say two things: leave one of them out")
    return [f"{key}={value}" for key, value in given.items()]
