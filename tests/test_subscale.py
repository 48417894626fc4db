"""Values on a grid slice after slice."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from small_priors import small
from torch import nn

from anytime_core.config import AutoencoderConfig
from anytime_core.errors import ConfigError
from anytime_core.identity import order_of
from anytime_core.priors.grid.orders import raster_order, subscale_order
from anytime_core.priors.subscale.config import SubscaleConfig
from anytime_core.priors.subscale.model import SubscalePrior
from anytime_core.quantizers.base import CodeSpec
from anytime_core.testing import PriorContract

LEVELS = tuple(torch.linspace(-1, 1, 6).tolist())
COLOURS = CodeSpec(length=24, size=6, dim=1, grid=(2, 6, 2), levels=LEVELS, order=subscale_order(2, (6, 2), 2))


class TestColours(PriorContract):
    prior = SubscalePrior
    config: ClassVar = small("subscale")
    spec = COLOURS.model_copy(update={"length": 19})


def test_the_first_slice_of_a_subscale_order_is_a_smaller_picture():
    assert subscale_order(1, (2, 4), 2) == (0, 2, 1, 3, 4, 6, 5, 7)
    assert subscale_order(2, (2, 4), 2) == (0, 8, 2, 10, 1, 9, 3, 11, 4, 12, 6, 14, 5, 13, 7, 15)
    assert subscale_order(3, (4, 5), 1) == raster_order(3, (4, 5))


def test_slices_that_do_not_divide_a_grid_are_refused():
    with pytest.raises(ConfigError, match="3 slices a side do not divide a grid of 4x8 cells: use 2, 4"):
        subscale_order(1, (4, 8), 3)
    with pytest.raises(ConfigError, match="as only 1 does"):
        subscale_order(1, (3, 5), 3)
    with pytest.raises(ConfigError, match="4 slices a side leave a cell each of a grid of 4x4 cells: use 2"):
        subscale_order(2, (4, 4), 4)


def test_codes_in_another_order_are_refused():
    config = SubscaleConfig.model_validate(small("subscale"))
    for order in (None, raster_order(2, (6, 2)), subscale_order(2, (6, 2), 1)):
        with pytest.raises(ConfigError, match=r"stand in another order: use autoencoder\.order=subscale"):
            config.check(COLOURS.model_copy(update={"order": order}))
    with pytest.raises(ConfigError, match=r"needs a network as prior\.network.kind"):
        SubscaleConfig().check(COLOURS)


def prior_of(spec: CodeSpec = COLOURS, **config) -> SubscalePrior:
    torch.manual_seed(0)
    section = SubscaleConfig.model_validate(small("subscale") | config)
    return SubscalePrior(section, spec).eval()


def test_each_value_sees_all_values_of_the_slices_before_it():
    # The embedder's field of 7 x 7 cells is larger than a slice of 3 x 1.
    prior = prior_of()
    values = torch.randn(1, 24, 1, requires_grad=True)
    which = torch.arange(4).unsqueeze(0)
    told = prior._told(values, which, None)
    for number in range(4):
        for cell in told[number].sum(0).flatten():
            (gradient,) = torch.autograd.grad(cell, values, retain_graph=True)
            seen = gradient[0, :, 0].ne(0)
            assert seen[: 6 * number].all() or not number
            assert not seen[6 * number :].any()


def test_drawn_slices_have_the_loss_of_all_slices_in_the_mean():
    prior, codes = prior_of(slices_per_step=1), torch.randint(6, (3, 24))
    each = [prior(codes, None, {"slices": torch.full((3, 1), number)}) for number in range(4)]
    assert torch.allclose(torch.stack(each).mean(0), prior(codes, None), atol=1e-6)
    assert prior.draws(5)["slices"].shape == (5, 1)
    assert prior_of(slices_per_step=4).draws(5) == {}


class Whole(nn.Module):
    """A network without steps of its own."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.features = network, network.features

    def forward(self, x, condition):
        return self.network(x, condition)


@torch.no_grad()
def test_networks_that_compute_all_values_at_once_are_drawn_slice_by_slice_too():
    prior, codes = prior_of(), torch.randint(6, (3, 24))
    wanted = prior.conditionals(codes[:, :-1], None)
    assert prior.engines()["eager"](prior, "float32").incremental is not None
    prior.network.network = Whole(prior.network.network)
    engine = prior.engines()["eager"](prior, "float32")
    assert engine.incremental is None
    stepper, rows = engine.open(None, 3, 24), torch.arange(3)
    for position in range(24):
        if position == 9:
            rows = rows[1:]
            stepper.keep(rows)
        found = stepper.step(position, codes[rows, position - 1] if position else None)
        assert torch.allclose(found, wanted[rows, position], atol=1e-5)


@pytest.mark.parametrize(("shape", "slices"), [((3, 8, 12), 2), ((3, 8, 12), 4), ((1, 4, 4), 2)])
def test_the_order_that_an_identity_gives_is_known(shape, slices):
    levels = {"kind": "levels", "size": 6}
    fields = {"kind": "identity", "tell_decoder": False, "quantizer": levels, "order": "subscale", "slices": slices}
    cells = order_of(AutoencoderConfig.model_validate(fields), shape)
    spec = CodeSpec(length=len(cells), size=6, dim=1, grid=shape, order=cells)
    section = SubscaleConfig.model_validate(small("subscale"))
    section.check(spec)
    assert section.slices_of(spec) == slices
