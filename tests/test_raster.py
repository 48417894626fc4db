"""Priors of values on a grid in raster order, around a network that a modality offers."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
import torch
from shifted import Offering, ShiftedConfig, ShiftedNetwork, ShiftedSteps
from small_priors import small

from anytime_core.discovery.resolve import resolve
from anytime_core.errors import ConfigError, PluginError
from anytime_core.priors.grid.orders import raster_order
from anytime_core.priors.raster.config import RasterConfig
from anytime_core.priors.raster.model import RasterPrior
from anytime_core.quantizers.base import CodeSpec
from anytime_core.testing import PriorContract
from anytime_core.testing.modality import value_networks
from anytime_core.testing.modality.subject import Subject, check
from anytime_core.value_networks import NETWORKS, OfferedNetwork

LEVELS = tuple(torch.linspace(-1, 1, 6).tolist())
COLOURS = CodeSpec(length=12, size=6, dim=1, grid=(2, 3, 2), levels=LEVELS, order=raster_order(2, (3, 2)))


class TestColours(PriorContract):
    prior = RasterPrior
    config: ClassVar = small("raster")
    spec = COLOURS


def test_the_order_of_a_raster_is_cell_after_cell():
    assert raster_order(2, (2, 2)) == (0, 4, 1, 5, 2, 6, 3, 7)
    assert raster_order(1, (2, 2)) == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("config", "spec", "message"),
    [
        ({}, {}, "prior.kind=raster needs a network as prior.network.kind: choose .*shifted"),
        (
            small("raster"),
            {"grid": (12,), "order": None},
            "the grid of these codes is 12: use autoenc",
        ),
        (small("raster"), {"order": None}, "these codes stand in another one"),
        ({**small("raster"), "head": "logistics"}, {"levels": None}, "needs values on a line"),
    ],
)
def test_codes_that_have_no_raster_are_refused(config, spec, message):
    with pytest.raises(ConfigError, match=message):
        RasterConfig.model_validate(config).check(CodeSpec.model_validate(COLOURS.model_dump() | spec))


def test_two_modalities_may_not_offer_a_network_of_one_name():
    class Other(Offering):
        name = "others"

    with pytest.raises(PluginError, match="network 'shifted' of modality 'others': modality 'shifts' offers"):
        NETWORKS.offer(Other)


def networks_checked(network: type[ShiftedNetwork]) -> dict[str, str]:
    """What the contract of modalities says of one that offers `network`: outcome or message by check."""

    class Faulty(Offering):
        @staticmethod
        def value_networks() -> dict[str, OfferedNetwork]:
            return {"shifted": OfferedNetwork(ShiftedConfig, network, "of a test")}

    subject = Subject(Faulty, {})
    found = {}
    for name, declared in check.of(value_networks).items():
        try:
            declared.function(subject, Path())
        except AssertionError as error:
            found[name] = str(error)
    return found


class Leaking(ShiftedNetwork):
    def forward(self, x, condition):
        return super().forward(x, condition) + 0.01 * x[:, :1, :, :]


class Blind(ShiftedNetwork):
    def forward(self, x, condition):
        return super().forward(0 * x, condition)


class Mixing(ShiftedNetwork):
    def forward(self, x, condition):
        return super().forward(x, condition) + x.mean((0, 1, 2, 3)).detach()


class Unconditional(ShiftedNetwork):
    def forward(self, x, condition):
        return super().forward(x, 0 * condition)


class Late(ShiftedNetwork):
    def incremental(self):
        steps = super().incremental()
        steps.features = lambda x, state, cell: 1.01 * ShiftedSteps.features(steps, x, state, cell)
        return steps


@pytest.mark.parametrize(
    ("network", "name", "message"),
    [
        (Leaking, "features-depend-on-earlier-values", "features of value 0 depend on value 0, which is not before"),
        (Blind, "features-depend-on-earlier-values", "features of value 1 depend on no value before it"),
        (Mixing, "features-of-rows-are-their-own", "features depend on other samples of the batch"),
        (Unconditional, "features-are-of-the-condition", "features of value 0 ignore the condition"),
        (Late, "values-one-by-one-have-the-same-features", "value by value, those of"),
    ],
)
def test_the_contract_finds_what_is_wrong_with_a_network(network, name, message):
    assert message in networks_checked(network)[name]


def test_a_good_network_keeps_the_contract():
    assert networks_checked(ShiftedNetwork) == {}


def test_the_network_of_another_modality_is_refused():
    values = {"autoencoder.kind": "identity", "prior": {"kind": "raster", "network": {"kind": "shifted"}}}
    with pytest.raises(ConfigError, match=r"modality 'audio' offers no network 'shifted': the modality offers none"):
        resolve(modality="audio", baseline="identity", overrides=values)
