"""The registry of priors."""

from __future__ import annotations

from anytime_core.entry_points import Group

API_VERSION = 1
"""Of the interface in `anytime_core.priors.base`; a plugin declares the one it was written for."""

PRIOR_GROUP = Group("anytime.priors", "prior", API_VERSION, own=("transformer", "ardm"))
