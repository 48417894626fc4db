"""Priors of any codes given any others: their interface, their network calls, and plans of the calls."""
