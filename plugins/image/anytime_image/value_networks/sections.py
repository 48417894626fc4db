"""The sections of networks over values. Nothing here needs torch."""

from __future__ import annotations
