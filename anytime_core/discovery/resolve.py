"""What to train: a recipe, a file, values from Python or a run, changed by a baseline and overrides."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from anytime_core.config import Config, CoreConfig
from anytime_core.config_parsing import (
    Override,
    apply_overrides,
    modality_name,
    overridden_key,
    parse_config,
    read_yaml,
)
from anytime_core.discovery.baselines import find_baseline
from anytime_core.discovery.blocks import QUICK, mistakes_below, without_blocks
from anytime_core.discovery.other_prior import check_priors, kind_of, with_prior
from anytime_core.discovery.plugins import find_modality, load_modality
from anytime_core.discovery.quick import has_quick, quick_variant
from anytime_core.discovery.recipes import Recipe, default_recipe, find_config, list_recipes
from anytime_core.display import shown
from anytime_core.errors import ConfigError, MissingPluginError, UsageError
from anytime_core.priors.registry import PRIORS
from anytime_core.record import CONFIG_FILE, RunRecord, read_record
from anytime_core.spelling import argument, named_override, settings
from anytime_core.value_networks import NETWORKS

Source = str | os.PathLike[str] | Mapping[str, Any] | Config | None
"""A recipe's name, a YAML file, values in the layout of such a file, a config, or None for the default recipe."""
Overrides = Mapping[str, Any] | Iterable[Override]
"""Dotted keys and their values, or texts `a.b=value` as they are typed."""


@dataclass(frozen=True)
class Subject:
    """What to train, checked.

    Attributes:
        config: all values.
        recipe: the name of the recipe or file that they come from; None: they come from Python.
        baseline: the name of the baseline; None: no baseline.
        quick: whether it is the quick variant.
        has_quick: whether the config has a quick variant and is not that variant.
        prior: the kind of prior, if only that is trained, on the autoencoder of another run.
    """

    config: Config
    recipe: str | None = None
    baseline: str | None = None
    quick: bool = False
    has_quick: bool = False
    prior: str | None = None

    @property
    def name(self) -> str:
        """The name of what is trained, such as `image/mnist`, `image/mnist-quick` or `image/mnist-unordered`."""
        origin = self.recipe or self.config.core.modality
        return "-".join(filter(None, (origin, "quick" if self.quick else None, self.baseline, self.prior)))


def resolve(
    source: Source = None,
    *,
    overrides: Overrides = (),
    modality: str | None = None,
    baseline: str | None = None,
    quick: bool = False,
) -> Subject:
    """What to train, from a source.

    First the quick variant is taken, if it is asked for. Then it gets the kind of prior that the overrides name, with
    what the config says of that kind. Then the baseline changes it, and then the overrides.

    Args:
        source: the source. None: the default recipe of `modality`.
        overrides: changes, in order.
        modality: the name of the modality. None: the modality of the source, or the default one.
        baseline: the name of a model to compare with. None: no baseline.
        quick: whether to take the quick variant.

    Raises:
        UsageError: there is no such recipe, file, modality, baseline or quick variant.
        ConfigError: the config has mistakes; the message names all of them.
    """
    made = find_baseline(baseline) if baseline is not None else None
    changes = as_changes(overrides, modality)
    recipe, values = _origin(source, modality)
    name, place = (recipe.name, shown(recipe.path)) if recipe is not None else ("the config", "the config")
    data = quick_variant(values, name) if quick else without_blocks(values)
    cls = load_modality(modality_name(data, changes))
    sections, kind = cls.Config, _chosen_prior(changes)
    _check_blocks(values, place, sections, kind)
    if kind is not None:
        data = with_prior(data, kind, values, quick=quick)
    if made is not None:
        quantizer = parse_config(data, sections).core.autoencoder.quantizer
        data = apply_overrides(data, made.overrides(quantizer), sections)
    config = parse_config(apply_overrides(data, changes, sections), sections)
    NETWORKS.check_offered(config.core.prior, cls)
    return Subject(
        config=config,
        recipe=None if recipe is None else recipe.name,
        baseline=baseline,
        quick=quick,
        has_quick=not quick and has_quick(values, name),
    )


def resolve_run(
    run: Path,
    *,
    overrides: Overrides = (),
    modality: str | None = None,
    baseline: str | None = None,
    quick: bool = False,
) -> Subject:
    """The config that a run was started with, changed by overrides; see `resolve`.

    If they name another kind of prior, what the run's recipe says of it holds, if that recipe is still there.

    Raises:
        UsageError: the run was started without the baseline, or not as the quick variant.
        RunError: it is not a run, is damaged, or the kind of its prior is not installed.
        ConfigError: the config has mistakes; the message names all of them.
    """
    record = read_record(run)
    for asked, other in (
        (argument("baseline", baseline), baseline not in (None, record.baseline)),
        (argument("quick", True), quick and not record.quick),
    ):
        if other:
            raise UsageError(f"run {run} was not started with {asked}: choose another {argument('run')}")
    changes = as_changes(overrides, modality)
    data = read_yaml(run / CONFIG_FILE)
    kind, own = _chosen_prior(changes), kind_of(data)
    if kind is None and own == kind_of(record.config) and own not in PRIORS:
        raise MissingPluginError(
            f"no prior '{shown(str(own))}' is installed, which is the kind of prior that run {shown(run)} has: "
            f"{record.missing_prior}, or choose another with {settings({'prior.kind': 'KIND'})}"
        )
    if kind is not None:
        data = _with_prior_of_run(data, kind, record)
    cls = load_modality(modality_name(data, changes))
    config = parse_config(apply_overrides(data, changes, cls.Config), cls.Config)
    NETWORKS.check_offered(config.core.prior, cls)
    prior = config.core.prior.kind if record.autoencoder_of is not None else None
    return Subject(config, record.recipe, record.baseline, record.quick, prior=prior)


def check_said_once(arguments: Mapping[str, object], overrides: Iterable[Override]) -> None:
    """Raise UsageError if an override and an argument give different values.

    Args:
        arguments: dotted key -> the value of the argument that is named like the end of the key.
        overrides: the overrides to compare with.
    """
    for override in overrides:
        key = overridden_key(override)
        value = override.partition("=")[2].strip() if isinstance(override, str) else override[1]
        if key in arguments and str(value).lower() != str(arguments[key]).lower():
            given = argument(key.rpartition(".")[2], arguments[key])
            text = override if isinstance(override, str) else f"{key}={value}"
            raise UsageError(f"{given} and {named_override(text)} say two things: leave one of them out")


def as_changes(overrides: Overrides, modality: str | None) -> list[Override]:
    """All overrides, with the modality as the last one if it is given.

    Raises:
        UsageError: they are not overrides, or name another modality.
    """
    if isinstance(overrides, str):
        overrides = [overrides]
    given: list[Any] = list(overrides.items() if isinstance(overrides, Mapping) else overrides)
    for one in given:
        pair = isinstance(one, tuple) and len(one) == 2 and isinstance(one[0], str)
        if not pair and not isinstance(one, str):
            raise UsageError(f"override {shown(repr(one))[:80]} is neither a dotted key with its value nor 'key=value'")
    if modality is None:
        return given
    check_said_once({"modality": modality}, given)
    return [*given, ("modality", modality)]


def _origin(source: Source, modality: str | None) -> tuple[Recipe | None, Mapping[str, Any]]:
    """The recipe that a source names, None for values from Python; and all values, with its blocks."""
    if isinstance(source, Config):
        return None, source.to_dict()
    if isinstance(source, Mapping):
        return None, source
    if source is None:
        recipe = default_recipe(find_modality(CoreConfig().modality if modality is None else modality).name)
    elif isinstance(source, str | os.PathLike):
        recipe = find_config(os.fspath(source))
    else:
        raise UsageError(
            f"config {shown(repr(source))[:80]} is not a recipe's name, a YAML file, a mapping of values or a Config"
        )
    return recipe, read_yaml(recipe.path)


def _chosen_prior(changes: Sequence[Override]) -> str | None:
    """The kind of prior that overrides name, None if they name none."""
    chosen = [change for change in changes if overridden_key(change) in ("prior", "prior.kind")]
    section = apply_overrides({}, chosen).get("prior")
    kind = section.get("kind") if isinstance(section, Mapping) else None
    return kind if isinstance(kind, str) else None


def _with_prior_of_run(data: Mapping[str, Any], kind: str, record: RunRecord) -> dict[str, Any]:
    """The config of a run with another kind of prior, as its recipe says, if that is still there."""
    named = record.recipe if kind != kind_of(data) else None
    recipe = next((one for one in list_recipes() if one.name == named), None)
    values = read_yaml(recipe.path) if recipe is not None else {}
    if recipe is not None:
        _check_blocks(values, shown(recipe.path), load_modality(record.modality).Config, kind)
    return with_prior(data, kind, values, quick=record.quick)


def _check_blocks(values: Mapping[str, Any], place: str, sections: type[BaseModel], kind: str | None) -> None:
    """Raise ConfigError if a block of a config has a mistake that the whole config does not have.

    Args:
        values: with all blocks.
        place: of the config, for messages.
        sections: of its modality.
        kind: the kind of prior that is asked for, None if none is.
    """

    def parse(variant: Mapping[str, Any]) -> None:
        parse_config(variant, sections)

    try:
        parse(without_blocks(values))
    except ConfigError:
        check_priors(values, place, lambda variant: None, kind)
        return  # overrides may correct it
    if has_quick(values, place):
        with mistakes_below(QUICK, place):
            parse(quick_variant(values, place))
    check_priors(values, place, parse, kind)
