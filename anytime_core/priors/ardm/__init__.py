"""Order-agnostic autoregressive diffusion."""
