"""Budgets and the sampler."""
