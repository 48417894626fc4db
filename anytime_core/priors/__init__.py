"""Priors by their `kind` in the config, in `registry.PRIORS`; `base` has their interface."""
