"""Values on a grid, one after another in raster order."""
