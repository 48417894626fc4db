"""A config with another kind of prior than its own: its block `priors` says which values go with each kind.

The block maps kinds to values of `prior` and `training.prior`, in the layout of a config. The quick variant may have
such a block of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from anytime_core.discovery.blocks import PRIORS as BLOCK
from anytime_core.discovery.blocks import QUICK, as_block, laid_over, mistakes_below, without_blocks
from anytime_core.discovery.quick import quick_variant
from anytime_core.display import listed, shown
from anytime_core.errors import ConfigError, nearest
from anytime_core.priors.registry import PRIORS


def kind_of(values: Mapping[str, Any]) -> Any:
    """The kind of prior that a config has."""
    return _section(values, "prior").get("kind", PRIORS.default)


def with_prior(values: Mapping[str, Any], kind: str, recipe: Mapping[str, Any], *, quick: bool) -> dict[str, Any]:
    """The values of a config with another kind of prior.

    Of section `prior`, those values stay that the old and the new kind share, see `Registry.shared_fields`. Of
    `training.prior`, all stay but those that the recipe's block of the old or the new kind has, which are the recipe's.
    Then what the recipe says of the new kind is laid over, that of the quick variant last.

    Args:
        values: of a config without blocks.
        kind: of the prior. If the config has it already, nothing changes.
        recipe: the config with its blocks that the values come from, found good by `check_priors`.
        quick: whether the values are those of the quick variant.
    """
    if kind == kind_of(values) or not isinstance(values.get("prior", {}), Mapping):
        return dict(values)
    shared = PRIORS.shared_fields(kind_of(values), kind)
    concerned = {
        name
        for holder in (recipe, _section(recipe, QUICK) if quick else {})
        for one in (kind_of(values), kind)
        for name in _section(holder, BLOCK, one, "training", "prior")
    }

    def training(holder: Mapping[str, Any], *, of_blocks: bool) -> dict[str, Any]:
        settings = _section(holder, "training", "prior").items()
        return {"prior": {name: value for name, value in settings if (name in concerned) == of_blocks}}

    def kept(holder: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in _section(holder, "prior").items() if name in shared}

    result = {**values, "prior": {**kept(values), "kind": kind}}
    if concerned and isinstance(values.get("training"), Mapping):
        result["training"] = {**values["training"], **training(values, of_blocks=False)}
        result = laid_over(result, {"training": training(recipe, of_blocks=True)})
    result = laid_over(result, _said_of(kind, recipe, kind_of(recipe)))
    if quick:
        block = _section(recipe, QUICK)
        result = laid_over(result, {"prior": kept(block), "training": training(block, of_blocks=True)})
        result = laid_over(result, _said_of(kind, block, kind_of(laid_over(recipe, block))))
    return result


def _said_of(kind: str, holder: Mapping[str, Any], own: Any) -> Mapping[str, Any]:
    """What a config, or its quick variant, says of a kind by itself; `own` is the kind that it has."""
    if kind != own:
        return _section(holder, BLOCK, kind)
    return {"prior": {name: value for name, value in _section(holder, "prior").items() if name != "kind"}}


def _section(values: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """The section at `keys`, empty if there is none."""
    section: Any = values
    for key in keys:
        section = section.get(key)
        if not isinstance(section, Mapping):
            return {}
    return section


def check_priors(
    recipe: Mapping[str, Any], place: str, parse: Callable[[Mapping[str, Any]], object], chosen: str | None
) -> None:
    """Raise ConfigError if a block `priors` of a config has a mistake.

    What is said of kinds of plugins is only looked at if one of them is chosen.

    Args:
        recipe: the config with its blocks.
        place: where it is, for messages.
        parse: called with the values of a config without blocks; raises ConfigError for mistakes.
        chosen: the kind of prior that is asked for, None if none is.
    """
    quick = as_block(recipe.get(QUICK), QUICK, place)
    for key, holder, is_quick in ((BLOCK, recipe, False), (f"{QUICK}.{BLOCK}", quick, True)):
        values = quick_variant(recipe, place) if is_quick and quick else without_blocks(recipe)
        for kind, block in as_block(holder.get(BLOCK), key, place).items():
            below = f"{key}.{shown(str(kind))[:80]}"
            if problem := next(_misplaced(kind, as_block(block, below, place), kind_of(values)), None):
                raise ConfigError(f"{place}: {below}{problem}")
            if kind not in PRIORS.built_in and kind != chosen:
                continue
            with mistakes_below(below, place):
                parse(with_prior(values, kind, recipe, quick=is_quick))


def _misplaced(kind: Any, block: Mapping[str, Any], own: Any) -> Iterator[str]:
    """What is wrong with a block of a kind, whatever its values are."""
    if not isinstance(kind, str):
        yield " is not the name of a kind of prior"
    elif kind == own:
        yield ": this is the config's own kind, whose values are those of prior and training.prior"
    elif kind not in PRIORS and (meant := nearest(kind, PRIORS)):  # others may be kinds of plugins
        yield f": no prior of this kind{meant}"
    training = block.get("training")
    inside = training if isinstance(training, Mapping) else {}
    foreign = [name for name in block if name not in ("prior", "training")]
    foreign += [f"training.{name}" for name in inside if name != "prior"]
    if foreign:
        yield f": {listed(foreign)} is not of the prior: only prior and training.prior may stand here"
    if isinstance(section := block.get("prior"), Mapping) and "kind" in section:
        yield ".prior.kind: the kind stands above already: leave it out"
