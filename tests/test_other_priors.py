"""A change of the prior's kind: which values stay, and what a config's block `priors` says of the new kind."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import TINY

from anytime_core.config_parsing import apply_overrides, parse_config
from anytime_core.discovery.blocks import without_blocks
from anytime_core.discovery.other_prior import with_prior
from anytime_core.discovery.plugins import load_modality
from anytime_core.discovery.quick import quick_variant
from anytime_core.discovery.recipes import list_recipes
from anytime_core.discovery.resolve import resolve, resolve_run
from anytime_core.errors import ConfigError
from anytime_core.priors.registry import PRIORS
from anytime_core.quantizers.registry import QUANTIZERS
from anytime_core.record import read_record
from anytime_core.section import MOST_CODES

OWN = {"width": 24, "heads": 2, "code_length": 5, "class_conditional": False, "dropout": 0.25}
BLOCK = {"ardm": {"prior": {"dropout": 0.3, "base": 4}, "training": {"prior": {"steps": 7, "learning_rate": 0.25}}}}


@pytest.mark.parametrize(
    ("registry", "keys"), [(PRIORS, ["prior"]), (QUANTIZERS, ["autoencoder", "quantizer"])], ids=["prior", "quantizer"]
)
def test_values_of_a_common_base_stay_and_all_others_go(registry, keys):
    for old, new in itertools.permutations(registry.built_in, 2):
        before, after = registry.section_of(old), registry.section_of(new)
        values = {name: field.get_default() for name, field in before.model_fields.items()}
        data: Any = values
        for key in reversed(keys):
            data = {key: data}
        found = apply_overrides(data, [f"{'.'.join(keys)}.kind={new}"])
        for key in keys:
            found = found[key]
        base = next(base for base in before.__mro__ if issubclass(after, base))
        assert found == {**{name: values[name] for name in base.model_fields}, "kind": new}
        assert after.model_validate(found).kind == new


def test_what_stays_is_what_both_kinds_have_from_one_base():
    section = apply_overrides({"prior": {**OWN, "kv_heads": 1}}, ["prior.kind=ardm"])["prior"]
    assert section == {**OWN, "kind": "ardm"}
    levels = {"autoencoder": {"quantizer": {"kind": "vq", "shared": False, "size": 9}}}
    assert apply_overrides(levels, ["autoencoder.quantizer.kind=fsq"]) == {
        "autoencoder": {"quantizer": {"kind": "fsq"}}
    }


def test_of_a_kind_that_is_not_installed_only_what_all_have_stays():
    section = apply_overrides({"prior": {"kind": "lstm", **OWN}}, ["prior.kind=transformer"])["prior"]
    assert section == {"kind": "transformer", "code_length": 5, "class_conditional": False}
    assert apply_overrides({"prior": OWN}, ["prior.kind=lstm"])["prior"].keys() == section.keys()


def recipe(**blocks: Any) -> dict[str, Any]:
    return {**TINY, "prior": OWN, "training": {**TINY["training"], "prior": {"steps": 20, "batch_size": 16}}, **blocks}


def prior_of(config: Any) -> dict[str, Any]:
    values, training = config.core.prior.model_dump(), config.core.training.prior.model_dump()
    return {**values, **{f"training.{name}": value for name, value in training.items()}}


def test_the_block_of_a_kind_is_laid_over_before_baseline_and_overrides():
    asked = ["prior.kind=ardm", "training.prior.steps=9"]
    found = resolve(recipe(priors=BLOCK), overrides=asked, baseline="spatial")
    said = {"kind": "ardm", "width": 24, "code_length": None, "dropout": 0.3, "base": 4, "training.batch_size": 16}
    assert prior_of(found.config).items() >= {**said, "training.steps": 9, "training.learning_rate": 0.25}.items()
    assert resolve(recipe(priors=BLOCK)) == resolve(recipe())
    assert resolve(recipe(priors=BLOCK), overrides=["prior.kind=transformer"]) == resolve(recipe())


def test_the_quick_variant_has_the_last_word():
    quick = {"prior": {"code_length": 3, "heads": 1}, "training": {"prior": {"steps": 2}}}
    found = resolve(recipe(priors=BLOCK, quick=quick), overrides=["prior.kind=ardm"], quick=True).config
    said = {"code_length": 3, "heads": 1, "base": 4, "training.steps": 2, "training.learning_rate": 0.25}
    assert prior_of(found).items() >= said.items()
    own = {"ardm": {"prior": {"base": 2}, "training": {"prior": {"steps": 1}}}}
    found = resolve(recipe(priors=BLOCK, quick={**quick, "priors": own}), overrides=["prior.kind=ardm"], quick=True)
    assert prior_of(found.config).items() >= {**said, "base": 2, "training.steps": 1}.items()


GRU = {"gru": {"prior": {"width": 8}, "training": {"prior": {"steps": 5}}}}


@pytest.mark.parametrize(
    ("given", "alone"),
    [
        (["prior.kind=gru", "prior.kind=transformer"], []),
        (["prior.kind=transformer", "prior.kind=gru"], ["prior.kind=gru"]),
        (["prior.kind=gru", "prior={kind: made}"], ["prior.kind=made"]),
        (["prior={kind: made}", "prior.kind=gru", "prior.width=6"], ["prior.kind=gru", "prior.width=6"]),
        (["prior={kind: gru}"], ["prior.kind=gru"]),
        ([("prior", {"layers": 2, "kind": "gru"})], ["prior.kind=gru", "prior.layers=2"]),
        (["prior={dropout: 0.4}"], ["prior.dropout=0.4"]),
    ],
    ids=str,
)
def test_the_last_kind_counts_as_if_it_had_been_given_alone(given, alone):
    source = recipe(priors={**BLOCK, **GRU})
    assert resolve(source, overrides=given) == resolve(source, overrides=alone)


def test_of_several_kinds_of_a_quantizer_the_last_counts_too():
    kinds = [f"autoencoder.quantizer.kind={kind}" for kind in ("fsq", "vq")]
    assert resolve(recipe(), overrides=kinds) == resolve(recipe())


def test_a_block_of_a_kind_that_is_not_installed_is_no_mistake_until_it_is_chosen():
    source = recipe(priors={"lstm": {"prior": {"cells": 3}}})
    assert resolve(source) == resolve(recipe())
    with pytest.raises(ConfigError, match=r"no prior 'lstm'.* others come with plugins"):
        resolve(source, overrides=["prior.kind=lstm"])


MISTAKES = {
    "priors: a section has keys below it": 3,
    "priors.ardm: a section has keys below it": {"ardm": 3},
    "priors.transformer: this is the config's own kind": {"transformer": {"prior": {"width": 8}}},
    "priors.adrm: no prior of this kind (did you mean 'ardm'?)": {"adrm": {}},
    "priors.ardm: data is not of the prior": {"ardm": {"data": {"size": 8}}},
    "priors.ardm: training.codes is not of the prior": {"ardm": {"training": {"codes": {"copies": 2}}}},
    "priors.ardm.prior.kind: the kind stands above": {"ardm": {"prior": {"kind": "ardm"}}},
    "below priors.ardm: in PLACE: unknown key 'prior.bse'": {"ardm": {"prior": {"bse": 2}}},
    "below priors.ardm: in PLACE: training: ": {"ardm": {"training": [1]}},
    "priors.3 is not the name of a kind": {3: {}},
}


@pytest.mark.parametrize("below_quick", [False, True])
@pytest.mark.parametrize(("said", "block"), MISTAKES.items(), ids=list(MISTAKES))
def test_a_mistake_in_a_block_is_refused_with_its_place(said, block, below_quick, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(
        yaml.safe_dump({**recipe(), **({"quick": {"priors": block}} if below_quick else {"priors": block})})
    )
    with pytest.raises(ConfigError) as error:
        resolve(path)
    message = str(error.value)
    assert (said.replace("priors", "quick.priors") if below_quick else said).replace("PLACE", str(path)) in message
    assert str(path) in message
    assert message.count("\n") == 0


def test_a_run_gets_the_block_of_its_recipe_while_that_is_there(tiny_folder, tmp_path, monkeypatch):
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "tiny.yaml").write_text(yaml.safe_dump({**TINY, "priors": BLOCK}))
    monkeypatch.setattr("anytime_core.discovery.recipes._folders", lambda: [("image", folder)])
    assert read_record(tiny_folder).recipe == "image/tiny"
    found = prior_of(resolve_run(tiny_folder, overrides=["prior.kind=ardm", "prior.base=8"]).config)
    assert found.items() >= {"base": 8, "width": 32, "dropout": 0.3, "training.steps": 7}.items()
    (folder / "tiny.yaml").unlink()
    found = prior_of(resolve_run(tiny_folder, overrides=["prior.kind=ardm"]).config)
    assert found.items() >= {"base": None, "width": 32, "dropout": 0.1, "training.steps": 20}.items()


def test_every_mistake_of_a_block_is_named_with_its_place():
    wrong = {"prior": {"bse": 2}, "training": {"prior": {"steps": 0}}}
    for block, below in (({"priors": {"ardm": wrong}}, "priors.ardm"), ({"quick": wrong}, "quick")):
        with pytest.raises(ConfigError) as error:
            resolve(recipe(**block))
        lines = str(error.value).splitlines()
        assert len(lines) == 2
        assert all(line.startswith(f"below {below}: in the config: ") for line in lines)


@pytest.mark.parametrize("quick", [False, True])
def test_settings_of_a_training_stay_unless_a_block_of_the_old_or_new_kind_has_them(quick):
    source = recipe(priors={**BLOCK, **GRU}, quick={"training": {"prior": {"steps": 3}}})

    def changed(kind: str, values: Any) -> Any:
        return with_prior(values, kind, source, quick=quick)["training"]["prior"]

    own, first = {"steps": 40, "batch_size": 9, "gradient_clip": 2.0}, 3 if quick else 20
    run = {**TINY, "prior": OWN, "training": {**TINY["training"], "prior": own}}
    assert changed("made", run) == own
    assert changed("gru", run) == {**own, "steps": 3 if quick else 5}
    gru = {**run, "prior": {"kind": "gru"}}
    assert changed("transformer", gru) == {**own, "steps": first}
    assert changed("made", gru) == {**own, "steps": first}
    assert changed("transformer", {**run, "prior": {"kind": "made"}}) == own


@pytest.mark.parametrize("recipe", list_recipes(), ids=lambda recipe: recipe.name)
def test_every_recipe_may_have_every_kind_of_prior(recipe):
    """What a recipe says of a kind is checked against the codes when it is trained, which takes its data."""
    for kind, quick in itertools.product(PRIORS.built_in, (False, True)):
        found = resolve(recipe.name, overrides=[f"prior.kind={kind}"], quick=quick).config.core
        assert found.prior.kind == kind
        own = resolve(recipe.name, quick=quick).config.core
        assert found.autoencoder == own.autoencoder
        assert found.training.prior.steps <= (2000 if quick else MOST_CODES)


def test_what_is_shown_of_a_recipe_can_be_trained_with_every_prior(anytime, tmp_path, monkeypatch):
    folder = tmp_path / "configs"
    folder.mkdir()
    values = {**recipe(priors=BLOCK, quick={"seed": 1, "priors": {"ardm": {"prior": {"base": 2}}}})}
    (folder / "tiny.yaml").write_text(f"# Tiny\n{yaml.safe_dump(values)}")
    monkeypatch.setattr("anytime_core.discovery.recipes._folders", lambda: [("image", folder)])
    shown = Path("shown.yaml")
    shown.write_text(anytime("recipes", "show", "image/tiny").out)
    for quick in (False, True):
        mine, theirs = (
            resolve(source, overrides=["prior.kind=ardm"], quick=quick).config for source in (shown, "image/tiny")
        )
        assert mine == theirs
    assert json.loads(anytime("recipes", "show", "tiny", "--json").out)["priors"] == BLOCK
    assert quick_variant(values, "it")["seed"] == 1
    assert without_blocks(values).keys() == {*TINY}


def test_a_key_of_another_kind_is_refused_with_those_of_this_kind():
    data = {"prior": {"kind": "ardm", "kv_heads": 1}, "autoencoder": {"quantizer": {"kind": "none", "size": 3}}}
    with pytest.raises(ConfigError) as error:
        parse_config(data, load_modality("image").Config)
    other, own = sorted(str(error.value).splitlines())
    assert own.startswith("unknown key 'prior.kv_heads' for kind 'ardm', which has class_conditional, code_length")
    assert other == "unknown key 'autoencoder.quantizer.size' for kind 'none', which has no other values"
