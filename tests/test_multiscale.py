"""Values on a grid scale after scale."""

from __future__ import annotations

import pytest

from anytime_core.errors import ConfigError
from anytime_core.priors.grid.section import multiscale_order, raster_order, subscale_order


def test_each_doubling_of_a_multiscale_order_ends_with_a_whole_picture():
    order = multiscale_order(1, (4, 4), 4)
    assert order == (0, 2, 8, 10, 1, 3, 9, 11, 4, 6, 12, 14, 5, 7, 13, 15)
    assert multiscale_order(3, (4, 6), 2) == subscale_order(3, (4, 6), 2)
    assert multiscale_order(3, (4, 5), 1) == raster_order(3, (4, 5))


@pytest.mark.parametrize(("scale", "message"), [(3, "3 is not doubled to 1"), (4, "4 slices a side do not divide")])
def test_scales_that_do_not_fit_are_refused(scale, message):
    with pytest.raises(ConfigError, match=message):
        multiscale_order(1, (6, 6), scale)
