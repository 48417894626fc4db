"""What a config may say of the prior of values in raster order."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from anytime_core.priors.grid.section import GridSection


class RasterConfig(GridSection):
    """Values on a grid, one after another in raster order, by a network that the modality offers."""

    kind: Literal["raster"] = Field("raster", description="values of a grid in raster order, such as pixels")
