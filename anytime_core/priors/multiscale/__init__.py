"""Values on a grid, scale after scale: a smaller picture, then the values between its own, several at a time."""
