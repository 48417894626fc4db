"""Measurements: timings against peers, and the experiments behind docs/results/."""
