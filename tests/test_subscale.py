"""Values on a grid slice after slice."""

from __future__ import annotations

import pytest

from anytime_core.errors import ConfigError
from anytime_core.priors.grid.section import raster_order, subscale_order


def test_the_first_slice_of_a_subscale_order_is_a_smaller_picture():
    assert subscale_order(1, (2, 4), 2) == (0, 2, 1, 3, 4, 6, 5, 7)
    assert subscale_order(2, (2, 2), 2) == (0, 4, 1, 5, 2, 6, 3, 7)
    assert subscale_order(3, (4, 5), 1) == raster_order(3, (4, 5))


def test_slices_that_do_not_divide_a_grid_are_refused():
    with pytest.raises(ConfigError, match="3 slices a side do not divide a grid of 4x8 cells: use 2, 4"):
        subscale_order(1, (4, 8), 3)
    with pytest.raises(ConfigError, match="as only 1 does"):
        subscale_order(1, (3, 5), 3)
