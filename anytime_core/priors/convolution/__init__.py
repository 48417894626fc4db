"""Causal dilated convolutions: what priors of this family have in common."""
