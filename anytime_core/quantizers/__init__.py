"""Quantizers by their `kind` in the config, in `registry.QUANTIZERS`; `base` has their interface."""
