"""Priors whose network maps a sequence of vectors to one of the same length: their ends, and drawing from them."""
