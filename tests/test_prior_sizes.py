"""A recipe with another kind of prior has about the size that it has with its own, if that kind can model its codes."""

from __future__ import annotations

import functools

import pytest
import torch

from anytime_core.autoencoder import build_autoencoder
from anytime_core.discovery.plugins import load_modality
from anytime_core.discovery.recipes import list_recipes
from anytime_core.discovery.resolve import resolve
from anytime_core.errors import ConfigError
from anytime_core.priors.grid.section import GridSection
from anytime_core.priors.registry import PRIORS
from anytime_core.priors.section import PriorSection
from anytime_core.training.preparation import prior_vectors

CLASSES = 10
WITHIN = 0.2


@pytest.mark.parametrize("quick", [False, True], ids=["whole", "quick"])
@pytest.mark.parametrize("recipe", [recipe.name for recipe in list_recipes()])
def test_every_kind_has_about_the_parameters_of_the_recipes_own_prior(recipe, quick):
    config = resolve(recipe, quick=quick).config
    autoencoder = build_autoencoder(load_modality(config.core.modality)(config.modality), config.core.autoencoder)
    spec = autoencoder.spec.narrowed(config.core.prior.code_length, CLASSES)
    vectors = prior_vectors(autoencoder, spec)

    @functools.cache
    def section(kind: str) -> PriorSection:
        return resolve(recipe, quick=quick, overrides=[f"prior.kind={kind}"]).config.core.prior

    def fits(kind: str) -> bool:
        """Kinds for values on a grid may refuse codes, or the recipe may name no network for them; others may not."""
        try:
            section(kind).check(spec)
        except ConfigError:
            assert issubclass(PRIORS.section_of(kind), GridSection)
            return False
        return True

    def parameters(kind: str) -> int:
        # Networks over values may look at their masks while they are made.
        device = "cpu" if issubclass(PRIORS.section_of(kind), GridSection) else "meta"
        with torch.device(device):
            prior = PRIORS[kind](section(kind), spec, vectors.to(device))
        return sum(weights.numel() for weights in prior.parameters())

    own = parameters(config.core.prior.kind)
    ratios = {kind: parameters(kind) / own for kind in PRIORS.built_in if fits(kind)}
    # The matrix of direct links of MADE, or of so many units, from each code to each, may alone be more than all that
    # networks share between cells.
    if spec.length**2 > (1 + WITHIN) * own:
        assert ratios.pop("made") > 1 + WITHIN
    assert {kind: ratio for kind, ratio in ratios.items() if abs(ratio - 1) > WITHIN} == {}
