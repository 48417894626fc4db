"""Values on a grid, slice after slice: the first slice is a smaller picture."""
