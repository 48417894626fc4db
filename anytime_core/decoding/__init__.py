"""Transformer priors arranged for drawing codes one after another, each the same function on other kernels."""
