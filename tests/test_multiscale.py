"""Values on a grid scale after scale."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from small_priors import small

from anytime_core.config import AutoencoderConfig
from anytime_core.errors import ConfigError
from anytime_core.identity import order_of
from anytime_core.priors.grid.layout import as_planes, in_raster_order, interleaved
from anytime_core.priors.grid.orders import multiscale_order, raster_order, subscale_order
from anytime_core.priors.multiscale.config import MultiscaleConfig
from anytime_core.priors.multiscale.doubling import Doubling
from anytime_core.priors.multiscale.model import MultiscalePrior
from anytime_core.quantizers.base import CodeSpec
from anytime_core.testing import PriorContract

LEVELS = tuple(torch.linspace(-1, 1, 6).tolist())
COLOURS = CodeSpec(length=32, size=6, dim=1, grid=(2, 4, 4), levels=LEVELS, order=multiscale_order(2, (4, 4), 4))


class TestColours(PriorContract):
    prior = MultiscalePrior
    config: ClassVar = small("multiscale") | {"head": "logistics", "mixtures": 2}
    spec = COLOURS.model_copy(update={"length": 19})


def test_each_doubling_of_a_multiscale_order_ends_with_a_whole_picture():
    order = multiscale_order(1, (4, 4), 4)
    assert order == (0, 2, 8, 10, 1, 3, 9, 11, 4, 6, 12, 14, 5, 7, 13, 15)
    assert multiscale_order(3, (4, 6), 2) == subscale_order(3, (4, 6), 2)
    assert multiscale_order(3, (4, 5), 1) == raster_order(3, (4, 5))


@pytest.mark.parametrize(
    ("scale", "message"), [(3, "3 is not doubled to 1"), (4, "divide a grid of 6x6 cells: use 2$")]
)
def test_scales_that_do_not_fit_are_refused(scale, message):
    with pytest.raises(ConfigError, match=message):
        multiscale_order(1, (6, 6), scale)


def test_codes_in_another_order_are_refused():
    config = MultiscaleConfig.model_validate(small("multiscale"))
    for order in (None, raster_order(2, (4, 4))):
        with pytest.raises(ConfigError, match=r"stand in another order: use autoencoder\.order=multiscale"):
            config.check(COLOURS.model_copy(update={"order": order}))


def prior_of(**config) -> MultiscalePrior:
    torch.manual_seed(0)
    section = MultiscaleConfig.model_validate(small("multiscale") | config)
    return MultiscalePrior(section, COLOURS).eval()


@torch.no_grad()
def seen_by(prior: MultiscalePrior, position: int) -> set[int]:
    """The positions whose codes change what is said of the value at `position`."""
    codes = torch.randint(6, (1, 32))
    others = codes.repeat(32, 1)
    others[torch.arange(32), torch.arange(32)] = (codes[0] + 3) % 6
    change = (
        prior.conditionals(others[:, :-1], None)[:, position] - prior.conditionals(codes[:, :-1], None)[0, position]
    )
    return set(change.abs().amax(-1).gt(1e-7).nonzero().flatten().tolist())


def test_a_value_sees_its_cell_and_all_groups_before_its_own_and_no_other_cell_of_its_group():
    prior = prior_of(blocks=4)
    for position in range(2, 8):  # groups of one cell
        assert seen_by(prior, position) == set(range(position))
    for position in range(8, 32):  # groups of 4 cells of 2 values
        group = 8 * (position // 8)
        assert seen_by(prior, position) == {*range(group), *([position - 1] if position % 2 else [])}


@torch.no_grad()
def test_a_group_is_drawn_by_one_call(monkeypatch):
    prior, codes, calls = prior_of(), torch.randint(6, (3, 32)), []
    features = Doubling.features
    monkeypatch.setattr(Doubling, "features", lambda self, *args: calls.append(self) or features(self, *args))
    stepper = prior.engines()["eager"](prior, "float32").open(None, 3, 32)
    for position in range(32):
        stepper.step(position, codes[:, position - 1] if position else None)
    assert calls == [prior.doublings[0]] * 3 + [prior.doublings[1]] * 3


def test_pictures_are_put_together_from_their_parts():
    picture = torch.arange(2 * 4 * 6).view(1, 2, 4, 6)
    parts = torch.stack([picture[..., row::2, column::2] for row in range(2) for column in range(2)], 1)
    assert torch.equal(interleaved(parts), picture)
    assert torch.equal(in_raster_order(as_planes(picture.reshape(1, 16, 3), 2, (2, 4)), 2, 2), picture.view(1, 16, 3))


@pytest.mark.parametrize(("shape", "slices"), [((3, 8, 12), 2), ((3, 8, 12), 4), ((1, 4, 4), 4)])
def test_the_order_that_an_identity_gives_is_known(shape, slices):
    levels = {"kind": "levels", "size": 6}
    fields = {"kind": "identity", "tell_decoder": False, "quantizer": levels, "order": "multiscale", "slices": slices}
    cells = order_of(AutoencoderConfig.model_validate(fields), shape)
    spec = CodeSpec(length=len(cells), size=6, dim=1, grid=shape, order=cells)
    section = MultiscaleConfig.model_validate(small("multiscale"))
    section.check(spec)
    assert section.scale_of(spec) == slices
