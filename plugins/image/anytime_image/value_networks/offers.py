"""The networks over values that the image modality offers. Each is imported when it is built."""

from __future__ import annotations

from collections.abc import Mapping

from anytime_core.value_networks import OfferedNetwork

NETWORKS: Mapping[str, OfferedNetwork] = {}
